//! What is wrong with a file, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use toml_spanner::Span;

use super::source::{Place, Source, printable, printable_path};

/// A second place further away than this many lines gets a snippet of its own.
const SAME_SNIPPET_LINES: usize = 200;
/// At most this many lines of one range are shown.
const SHOWN_LINES: usize = 6;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can be used, but probably doesn't do what its author means.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong or doubtful in one place of one file.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    severity: Severity,
    subject: Subject,
    message: String,
    help: Option<String>,
    related: Vec<(Arc<Source>, Range<usize>, String)>,
}

#[derive(Debug, Clone)]
enum Subject {
    /// A file that has no text to show (missing, unreadable); the number is its position among all files.
    File(usize, PathBuf),
    Text(Arc<Source>, Range<usize>),
}

impl Diagnostic {
    pub(crate) fn new(
        severity: Severity,
        source: &Arc<Source>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        let subject = Subject::Text(source.clone(), source.clamp(span.range()));
        Self { severity, subject, message: printable(message.into()), help: None, related: Vec::new() }
    }

    pub(crate) fn file(severity: Severity, order: usize, path: &Path, message: impl Into<String>) -> Self {
        let subject = Subject::File(order, path.to_owned());
        Self { severity, subject, message: printable(message.into()), help: None, related: Vec::new() }
    }

    /// About a place in one of `sources`, for what is found after reading.
    pub(crate) fn at(
        severity: Severity,
        sources: &[Arc<Source>],
        place: &Place,
        message: impl Into<String>,
    ) -> Self {
        match sources.iter().find(|source| source.path == place.file) {
            Some(source) => Self::new(severity, source, source.span_at(place), message),
            None => Self::file(severity, 0, &place.file, message),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(help.into()));
        self
    }

    /// Adds a second place that explains the first.
    #[must_use]
    pub(crate) fn related(mut self, source: &Arc<Source>, span: Span, label: impl Into<String>) -> Self {
        self.related.push((source.clone(), source.clamp(span.range()), label.into()));
        self
    }

    /// How much it weighs.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one sentence without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write or do instead.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Where it begins.
    pub fn place(&self) -> Place {
        match &self.subject {
            Subject::File(_, path) => Place { file: path.clone(), line: 0, column: 0 },
            Subject::Text(source, range) => source.place(range.start),
        }
    }

    /// The other places that explain it, each with its label.
    pub fn related_places(&self) -> Vec<(Place, &str)> {
        self.related
            .iter()
            .map(|(source, range, label)| (source.place(range.start), label.as_str()))
            .collect()
    }

    /// File order first, then position in the file; whole-file findings come before the others.
    pub(crate) fn order(&self) -> (usize, usize) {
        match &self.subject {
            Subject::File(order, _) => (*order, 0),
            Subject::Text(source, range) => (source.order, range.start),
        }
    }

    /// `{severity, file, line, column, end_line, end_column, message, help, related}`. Lines and columns
    /// count from 1 in characters, the end is exclusive; they are null if the whole file is meant.
    pub fn to_json(&self) -> Value {
        let place = self.place();
        let (start, end) = match &self.subject {
            Subject::File(..) => (None, None),
            Subject::Text(source, range) => {
                (Some((place.line, place.column)), Some(source.position(range.end)))
            }
        };
        let related = self.related_places().into_iter().map(|(place, message)| {
            json!({"file": place.file.to_string_lossy(), "line": place.line, "column": place.column, "message": message})
        });
        json!({
            "severity": self.severity.name(),
            "file": place.file.to_string_lossy(),
            "line": start.map(|at| at.0),
            "column": start.map(|at| at.1),
            "end_line": end.map(|at| at.0),
            "end_column": end.map(|at| at.1),
            "message": self.message,
            "help": self.help,
            "related": related.collect::<Vec<_>>(),
        })
    }

    /// The finding with the lines it is about, a caret and the help, as text for people.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = match &self.subject {
            Subject::File(_, path) if path.as_os_str().is_empty() => {
                Group::with_title(level.primary_title(self.message.as_str()))
            }
            Subject::File(_, path) => {
                let title = level.primary_title(format!("{}: {}", printable_path(path), self.message));
                Group::with_title(title)
            }
            Subject::Text(source, range) => {
                let title = level.primary_title(self.message.as_str());
                self.snippets(source, range).into_iter().fold(Group::with_title(title), Group::element)
            }
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let text = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
        // It shows control characters as what they are, but for those from U+0080 on, which some terminals obey.
        text.replace(|c: char| matches!(c, '\u{80}'..='\u{9f}'), "\u{fffd}")
    }

    fn snippets<'a>(
        &'a self,
        source: &'a Arc<Source>,
        range: &Range<usize>,
    ) -> Vec<Snippet<'a, Annotation<'a>>> {
        let line = source.line_of(range.start);
        let near = |other: &Arc<Source>, at: &Range<usize>| {
            Arc::ptr_eq(other, source) && source.line_of(at.start).abs_diff(line) <= SAME_SNIPPET_LINES
        };
        let (same, apart): (Vec<_>, Vec<_>) = self.related.iter().partition(|(other, at, _)| near(other, at));
        let mut marks = vec![(AnnotationKind::Primary, range.clone(), "")];
        marks.extend(
            same.into_iter().map(|(_, at, label)| (AnnotationKind::Context, at.clone(), label.as_str())),
        );
        let mut snippets = vec![snippet(source, &marks)];
        snippets.extend(apart.into_iter().map(|(other, at, label)| {
            snippet(other, &[(AnnotationKind::Context, at.clone(), label.as_str())])
        }));
        snippets
    }
}

/// The lines around `marks` with each of them underlined. Only these lines are given to the renderer, which
/// reads all the text it gets for every finding.
fn snippet<'a>(
    source: &'a Source,
    marks: &[(AnnotationKind, Range<usize>, &'a str)],
) -> Snippet<'a, Annotation<'a>> {
    let lines = marks.iter().map(|(_, at, _)| source.line_of(at.start));
    let first = lines.clone().min().unwrap_or(0);
    let last = lines.max().unwrap_or(0) + SHOWN_LINES - 1;
    let window = source.lines(first, last);
    let annotations = marks.iter().map(|(kind, at, label)| {
        let line_end = source.lines(0, source.line_of(at.start) + SHOWN_LINES - 1).end;
        let end = at.end.min(line_end).max(at.start);
        let annotation = kind.span(at.start - window.start..end - window.start);
        if label.is_empty() { annotation } else { annotation.label(*label) }
    });
    Snippet::source(source.text.get(window.clone()).unwrap_or(""))
        .line_start(first + 1)
        .path(printable_path(&source.path))
        .annotations(annotations.collect::<Vec<_>>())
}

/// Why a configuration can't be used: at least one error, and the warnings that came with it, in file order.
#[derive(Debug)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Puts findings together, in file order.
    pub fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(Diagnostic::order);
        Self { diagnostics }
    }

    /// Everything that was found, in file order.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The same, taken out.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Everything as text for people.
    pub fn render(&self, colour: bool) -> String {
        render_all(&self.diagnostics, colour)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        let noun = if errors == 1 { "error" } else { "errors" };
        write!(f, "{errors} {noun} in the configuration\n\n{}", self.render(false))
    }
}

impl std::error::Error for Report {}

/// All `diagnostics` as text for people, with an empty line after each.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    diagnostics.iter().map(|diagnostic| diagnostic.render(colour) + "\n\n").collect()
}
