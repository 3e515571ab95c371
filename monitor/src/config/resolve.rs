//! From raw types to the runtime types: every check that needs nothing but the files themselves.

mod about;
mod bounds;
mod databases;
mod execs;
mod interfaces;
mod lists;
mod names;
mod overlap;
mod packets;
mod per_packet;
mod ports;
mod prefixes;
mod rate_limits;
mod rings;
mod settings;
mod sinks;
mod workloads;

use std::sync::Arc;

use monitor_common::policy::RuleKind;
use toml_spanner::Span;

use super::diagnostic::{Diagnostic, Severity};
use super::limits::{MAX_RATE_LIMITS, MAX_RULES, MAX_WORKLOADS};
use super::model::{BANNED, Config, Mode, UNPARSED};
use super::pattern::Wrong;
use super::raw::{At, Field};
use super::schema;
use super::source::{Place, Spanned};
use super::syntax::Parsed;
use names::Names;
use workloads::Workloads;

/// Checks all files together. The configuration is complete only if no error was added to `diagnostics`.
pub(crate) fn resolve(
    files: &[Parsed],
    sha256: [u8; 32],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Config> {
    let settings = settings::resolve(files, diagnostics);
    let workloads = Workloads::resolve(files, diagnostics);
    let mut rules = Rules::default();
    let mut names = Names::new("rule", &OWN_NAMES);
    for parsed in files {
        let mut file = Checker { parsed, diagnostics };
        rules.add(&mut file, settings.mode, &workloads, &mut names);
    }
    rules.check_overlaps(diagnostics);
    rules.check_bounds(workloads.list(), diagnostics);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity() == Severity::Error) {
        return None;
    }
    Some(Config {
        mode: settings.mode,
        agent: settings.agent,
        metrics: settings.metrics,
        control: settings.control,
        web: settings.web,
        packets: settings.packets,
        sinks: settings.sinks,
        workloads: workloads.into_list(),
        databases: rules.databases.into_iter().map(|rule| rule.value).collect(),
        listens: rules.listens.into_iter().map(|rule| rule.value).collect(),
        execs: rules.execs.into_iter().map(|rule| rule.value).collect(),
        rate_limits: rules.rate_limits.into_iter().map(|rule| rule.value).collect(),
        raw_sockets: rules.raw_sockets.map(|rule| rule.value),
        process_memory: rules.process_memory.map(|rule| rule.value),
        modes: Vec::new(),
        sha256,
        sources: files.iter().map(|parsed| parsed.source.clone()).collect(),
    })
}

/// Names that stand beside those of rules in metrics, and for what.
const OWN_NAMES: [(&str, &str); 2] =
    [(UNPARSED, "packets that can't be read (`[packets] unparsed`)"), (BANNED, "what is banned by hand")];

/// A checked rule, with what is needed to point at it in a warning.
struct Checked<T> {
    value: T,
    source: Arc<super::source::Source>,
    span: Span,
}

/// The rules that could be read so far, of all files.
#[derive(Default)]
struct Rules {
    databases: Vec<Checked<super::model::Database>>,
    listens: Vec<Checked<super::model::Database>>,
    execs: Vec<Checked<super::model::Exec>>,
    rate_limits: Vec<Checked<super::model::RateLimit>>,
    raw_sockets: Option<Checked<super::model::Only>>,
    process_memory: Option<Checked<super::model::Only>>,
    counts: [usize; 3],
}

impl Rules {
    fn add(&mut self, file: &mut Checker, mode: Mode, workloads: &Workloads, names: &mut Names) {
        let raw = &file.parsed.file;
        for rule in raw.database.items() {
            file.count(&mut self.counts[0], MAX_RULES, "database rules", rule.span);
            let value = databases::database(file, rule, mode, workloads, names);
            self.databases.extend(keep(file, value, rule.span, self.counts[0]));
        }
        for rule in raw.listen.items() {
            // The kernel programs know both as one list.
            file.count(&mut self.counts[0], MAX_RULES, "database and listen rules", rule.span);
            let value = databases::listen(file, rule, mode, workloads, names);
            self.listens.extend(keep(file, value, rule.span, self.counts[0]));
        }
        for rule in raw.exec.items() {
            file.count(&mut self.counts[1], MAX_RULES, "exec rules", rule.span);
            let value = execs::exec(file, rule, mode, workloads, names);
            self.execs.extend(keep(file, value, rule.span, self.counts[1]));
        }
        for rule in raw.rate_limit.items() {
            file.count(&mut self.counts[2], MAX_RATE_LIMITS, "rate limits", rule.span);
            let value = rate_limits::rate_limit(file, rule, mode, names);
            self.rate_limits.extend(keep(file, value, rule.span, self.counts[2]));
        }
        for (kind, rule, found) in [
            (RuleKind::RawSockets, &raw.raw_sockets, &mut self.raw_sockets),
            (RuleKind::ProcessMemory, &raw.process_memory, &mut self.process_memory),
        ] {
            let Some(rule) = rule.given() else { continue };
            // It has no name of its own; in metrics it stands beside the rules that have.
            names.reserve(file, kind.name(), file.header(rule.span));
            let value = execs::only(file, rule, kind, mode, workloads);
            *found = found.take().or(value.map(|value| file.checked(value, rule.span)));
        }
    }
}

/// A rule that was read, unless there are too many: comparing them takes time with the square of their
/// number.
fn keep<T>(file: &Checker, value: Option<T>, span: Span, count: usize) -> Option<Checked<T>> {
    value.filter(|_| count <= MAX_RULES).map(|value| file.checked(value, span))
}

/// One file and where its diagnostics go.
struct Checker<'a> {
    parsed: &'a Parsed,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = Diagnostic::new(Severity::Error, &self.parsed.source, span, message);
        self.diagnostics.push(diagnostic.help(help));
    }

    fn warn(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = Diagnostic::new(Severity::Warning, &self.parsed.source, span, message);
        self.diagnostics.push(diagnostic.help(help));
    }

    /// The value, or `None` with its error reported.
    fn accept<T>(&mut self, span: Span, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|(message, help)| self.error(span, message, help)).ok()
    }

    fn place(&self, span: Span) -> Place {
        self.parsed.source.place(span.range().start)
    }

    fn spanned<T>(&self, value: T, span: Span) -> Spanned<T> {
        Spanned { value, place: self.place(span) }
    }

    fn checked<T>(&self, value: T, span: Span) -> Checked<T> {
        Checked { value, source: self.parsed.source.clone(), span: self.header(span) }
    }

    /// The first line of a table without its comment: what to point at when the table as a whole is meant.
    fn header(&self, span: Span) -> Span {
        let text = self.parsed.source.text.get(span.range()).unwrap_or("");
        let line = text.lines().next().unwrap_or("");
        let line = if line.starts_with('[') { line.split('#').next().unwrap_or("").trim_end() } else { line };
        Span::new(span.start, span.start + line.len() as u32)
    }

    /// The value of a key that must be there.
    fn required<'r, T>(
        &mut self,
        field: &'r Field<T>,
        table: &str,
        key: &str,
        span: Span,
    ) -> Option<&'r At<T>> {
        if field.is_absent() && !self.parsed.is_broken(span) {
            let header = schema::header(table);
            let example = schema::example(table, key).unwrap_or_else(|| format!("{key} = ..."));
            let message = format!("missing key `{key}` in `{header}`");
            self.error(self.header(span), message, format!("add for example: {example}"));
        }
        field.given()
    }

    fn count(&mut self, count: &mut usize, max: usize, what: &str, span: Span) {
        *count += 1;
        if *count == max + 1 {
            let message = format!("more than {max} {what}");
            self.error(
                self.header(span),
                message,
                format!("a configuration may have up to {max} {what}: merge some"),
            );
        }
    }

    fn count_workload(&mut self, count: &mut usize, span: Span) {
        self.count(count, MAX_WORKLOADS, "workloads", span);
    }
}
