//! Everything that isn't a rule or workload: it may stand in the main file only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use monitor_common::limits;
use toml_spanner::Span;

use super::Checker;
use super::interfaces::interfaces;
use super::lists::account;
use super::packets::{limit_or_off, packets};
use super::rings::rings;
use super::sinks;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::limits::{MAX_PROTECT, MAX_REDACT, MAX_SINKS};
use crate::config::model::{
    Agent, Control, Format, Interfaces, Limit, Metrics, Mode, Packets, Protect, Redact, Rings, Sink, Target,
};
use crate::config::net::{self, Protected};
use crate::config::pattern::{Wrong, absolute, check_components};
use crate::config::rate;
use crate::config::raw::{self, At, Field, List};
use crate::config::source::{Place, Source, Spanned, quoted};
use crate::config::syntax::Parsed;
use crate::pipeline::redact;

/// The checked settings.
pub(super) struct Settings {
    pub mode: Mode,
    pub agent: Agent,
    pub metrics: Metrics,
    pub control: Control,
    pub web: bool,
    pub packets: Packets,
    pub sinks: Vec<Sink>,
}

/// Where each setting that may be given once was given.
#[derive(Default)]
struct Given {
    mode: Option<(Arc<Source>, Span)>,
    agent: Option<(Arc<Source>, Span)>,
    metrics: Option<(Arc<Source>, Span)>,
    control: Option<(Arc<Source>, Span)>,
    web: Option<(Arc<Source>, Span)>,
    packets: Option<(Arc<Source>, Span)>,
}

pub(super) fn resolve(files: &[Parsed], diagnostics: &mut Vec<Diagnostic>) -> Settings {
    let mut settings = Settings {
        mode: Mode::Observe,
        agent: default_agent(),
        metrics: default_metrics(),
        control: Control::default(),
        web: false,
        packets: Packets::default(),
        sinks: Vec::new(),
    };
    let mut given = Given::default();
    let mut says_sinks = false;
    let mut count = 0;
    for parsed in files {
        let raw = &parsed.file;
        let mut file = Checker { parsed, diagnostics };
        if let Some(mode) = file.once(&raw.mode, "mode", &mut given.mode) {
            settings.mode = mode.value;
        }
        if let Some(raw) = file.once(&raw.agent, "[agent]", &mut given.agent) {
            settings.agent = agent(&mut file, &raw.value);
        }
        if let Some(raw) = file.once(&raw.metrics, "[metrics]", &mut given.metrics) {
            metrics(&mut file, &raw.value, &mut settings.metrics);
        }
        if let Some(raw) = file.once(&raw.control, "[control]", &mut given.control) {
            settings.control = control(&mut file, raw);
        }
        if let Some(raw) = file.once(&raw.web, "[web]", &mut given.web) {
            settings.web = raw.value.enable.or(false);
        }
        if let Some(raw) = file.once(&raw.packets, "[packets]", &mut given.packets) {
            settings.packets = packets(&mut file, &raw.value);
        }
        says_sinks |= !raw.sink.is_absent();
        for raw in raw.sink.items() {
            file.refuse_in_fragment("[[sink]]", raw.span);
            file.count(&mut count, MAX_SINKS, "sinks", raw.span);
            let Some(sink) = sinks::sink(&mut file, raw) else { continue };
            if settings.sinks.iter().any(|other| other.target == sink.target) {
                let message = "two sinks write to the same place";
                file.error(file.header(raw.span), message, "remove one of them, or give it another `path`");
            }
            if settings.sinks.len() < MAX_SINKS {
                settings.sinks.push(sink);
            }
        }
    }
    if !says_sinks {
        let (target, format, place) = (Target::Stdout, Format::Auto, Place::default());
        settings.sinks.push(Sink { target, format, events: false, fold: sinks::FOLD, place });
    }
    settings
}

fn default_agent() -> Agent {
    let cgroup = Spanned { value: "/".into(), place: Place::default() };
    let redact = Redact::Patterns(Vec::new());
    Agent {
        interfaces: Interfaces::Auto,
        cgroup,
        protect: Protect::default(),
        redact,
        stale_after_ns: STALE_AFTER_NS,
        rings: Rings::default(),
        events_per_cgroup: Some(Limit::a_second(limits::EVENTS_PER_CGROUP)),
    }
}

fn default_metrics() -> Metrics {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9469));
    Metrics { listen, web_config: None, place: Place::default() }
}

impl Checker<'_> {
    fn refuse_in_fragment(&mut self, what: &str, span: Span) {
        if self.parsed.source.is_fragment() {
            let message = format!("`{what}` can't be given in a file of `policy.d`");
            self.error(
                self.header(span),
                message,
                "move it to the main file, `monitor.toml` beside `policy.d`",
            );
        }
    }

    /// A setting that one file alone may give.
    fn once<'r, T>(
        &mut self,
        field: &'r Field<T>,
        what: &str,
        given: &mut Option<(Arc<Source>, Span)>,
    ) -> Option<&'r At<T>> {
        let at = field.given()?;
        let span = self.header(at.span);
        if self.parsed.source.is_fragment() {
            self.refuse_in_fragment(what, at.span);
        } else if let Some((source, first)) = given {
            let message = format!("`{what}` is given in two files");
            let diagnostic = Diagnostic::new(Severity::Error, &self.parsed.source, span, message)
                .related(source, *first, "given here first")
                .help("keep it in one file");
            self.diagnostics.push(diagnostic);
        } else {
            *given = Some((self.parsed.source.clone(), span));
        }
        Some(at)
    }
}

fn agent(file: &mut Checker, raw: &raw::Agent) -> Agent {
    let mut agent = default_agent();
    if let Some(at) = raw.interfaces.given() {
        agent.interfaces = interfaces(file, at).unwrap_or(Interfaces::Auto);
    }
    if let Some(at) = raw.cgroup.given()
        && let Some(path) = file.accept(at.span, cgroup(&at.value))
    {
        agent.cgroup = file.spanned(path, at.span);
    }
    if let Some(at) = raw.protect.given() {
        agent.protect = protect(file, &at.value);
    }
    if let Some(at) = raw.stale_after.given() {
        let after = file.accept(at.span, stale_after(&at.value));
        agent.stale_after_ns = after.unwrap_or(agent.stale_after_ns);
    }
    if let Some(at) = raw.redact.given() {
        agent.redact = redact(file, at).unwrap_or(agent.redact);
    }
    agent.rings = rings(file, raw);
    if let Some(at) = raw.events_per_cgroup.given() {
        agent.events_per_cgroup =
            file.accept(at.span, limit_or_off(&at.value)).unwrap_or(agent.events_per_cgroup);
    }
    agent
}

/// A minute: a busy machine must not look like one without an agent.
const STALE_AFTER_NS: u64 = 60 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;

fn stale_after(text: &str) -> Result<u64, Wrong> {
    let time = rate::duration(text)?;
    if (5 * SECOND_NS..=24 * 3600 * SECOND_NS).contains(&time) {
        return Ok(time);
    }
    let message = format!("the agent can't count as gone after {}", quoted(text));
    Err((message, "write a time from `\"5s\"` (it gives a sign of life each second) to `\"24h\"`".into()))
}

fn redact(file: &mut Checker, at: &At<raw::Redact>) -> Option<Redact> {
    let patterns = match &at.value {
        raw::Redact::Word(word) if word == "off" => return Some(Redact::Off),
        raw::Redact::Word(word) => {
            let message = format!("{} is neither `off` nor a list of regular expressions", quoted(word));
            file.error(at.span, message, "write `\"off\"`, or a list: `[\"--pin=([0-9]+)\"]`");
            return None;
        }
        raw::Redact::Patterns(patterns) => patterns,
    };
    if let Some(first) = patterns.items.get(MAX_REDACT) {
        let help = "join some of them with `|`";
        file.error(first.span, format!("more than {MAX_REDACT} patterns in `redact`"), help);
    }
    let mut found = Vec::new();
    for pattern in patterns.items.iter().take(MAX_REDACT) {
        match redact::compile(&pattern.value) {
            Ok(regex) if regex.is_match(b"") => {
                let message =
                    format!("{} matches an empty text, so it would match everywhere", quoted(&pattern.value));
                file.error(pattern.span, message, "write a pattern that needs at least one character");
            }
            Ok(_) => found.push(file.spanned(pattern.value.clone(), pattern.span)),
            Err(error) => {
                let help =
                    "write it as the `regex` crate reads it (https://docs.rs/regex), without look-around";
                file.error(pattern.span, format!("{error:#}"), help);
            }
        }
    }
    Some(Redact::Patterns(found))
}

/// Reads a path below the cgroup v2 mount.
pub(super) fn cgroup(path: &str) -> Result<String, Wrong> {
    absolute(path, "/system.slice")?;
    if let Some(rest) = path.strip_prefix("/sys/fs/cgroup") {
        let rest = rest.trim_start_matches("/unified").trim_end_matches('/');
        let rest = if rest.is_empty() { "/" } else { rest };
        let help = format!("write the path below the mount point: {}", quoted(rest));
        return Err((format!("{} is not a path below the cgroup mount", quoted(path)), help));
    }
    if path == "/" {
        return Ok(path.to_owned());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    check_components(path)?;
    Ok(path.to_owned())
}

fn protect(file: &mut Checker, raw: &List<String>) -> Protect {
    let mut protect = Protect::default();
    if let Some(first) = raw.items.get(MAX_PROTECT) {
        let help = "protect the networks from which the host is managed, as prefixes";
        file.error(first.span, format!("more than {MAX_PROTECT} entries in `protect`"), help);
    }
    for item in raw.items.iter().take(MAX_PROTECT) {
        let Some((entry, warning)) = file.accept(item.span, net::protected(&item.value)) else { continue };
        if let Some((message, help)) = warning {
            file.warn(item.span, message, help);
        }
        match entry {
            Protected::Prefix(address, length) => push_new(&mut protect.prefixes, (address, length)),
            Protected::Port(protocol, port) => push_new(&mut protect.ports, (protocol, port)),
        }
    }
    protect
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn metrics(file: &mut Checker, raw: &raw::Metrics, metrics: &mut Metrics) {
    if let Some(at) = raw.listen.given()
        && let Some(listen) = file.accept(at.span, net::listen(&at.value))
    {
        (metrics.listen, metrics.place) = (listen, file.place(at.span));
    }
    if let Some(at) = raw.web_config.given() {
        let checked =
            absolute(&at.value, "/etc/monitor/web.yml").and_then(|()| sinks::check_file_name(&at.value));
        let value = file.accept(at.span, checked).map(|()| at.value.clone().into());
        metrics.web_config = value.map(|value| Spanned { value, place: file.place(at.span) });
    }
}

fn control(file: &mut Checker, raw: &At<raw::Control>) -> Control {
    let group = raw.value.group.given();
    if let Some(changes) = raw.value.changes.given()
        && raw.value.group.is_absent()
    {
        let help = "name the group: `group = \"monitor\"`; root may do everything anyway";
        file.error(changes.span, "`changes` has no meaning without `group`", help);
    }
    let group = group.and_then(|at| {
        let account = file.accept(at.span, account(&at.value, "group"))?;
        Some(file.spanned(account, at.span))
    });
    Control { group, changes: raw.value.changes.or(false) }
}
