//! Names of rules and workloads: what they may be, and that each is used once.

use std::collections::HashMap;
use std::sync::Arc;

use toml_spanner::Span;

use super::Checker;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::limits::MAX_NAME_BYTES;
use crate::config::raw::{At, Field};
use crate::config::source::{Source, is_printable, quoted};

/// The names of one kind that are taken, each with its place.
pub(super) struct Names {
    kind: &'static str,
    own: &'static [(&'static str, &'static str)],
    taken: HashMap<String, (Arc<Source>, Span)>,
}

impl Names {
    /// None yet but those in `own`, each with what it stands for: they can't be given.
    pub fn new(kind: &'static str, own: &'static [(&'static str, &'static str)]) -> Self {
        Self { kind, own, taken: HashMap::new() }
    }

    /// Checks the `name` of a table. A name that breaks a rule is returned too, so that references to it
    /// aren't reported a second time.
    pub fn take<'a>(
        &mut self,
        file: &mut Checker,
        field: &'a Field<String>,
        table: &str,
        span: Span,
    ) -> Option<&'a At<String>> {
        let name = file.required(field, table, "name", span)?;
        if let Some((message, help)) = wrong_name(&name.value) {
            file.error(name.span, message, help);
        }
        if let Some((_, what)) = self.own.iter().find(|(own, _)| *own == name.value) {
            let help = format!("in metrics it stands for {what}: write another name");
            file.error(name.span, format!("no {} can be named {}", self.kind, quoted(&name.value)), help);
        }
        self.reserve(file, &name.value, name.span);
        Some(name)
    }

    /// Takes a name that is said at `span`, and reports if it is used twice.
    pub fn reserve(&mut self, file: &mut Checker, name: &str, span: Span) {
        match self.taken.get(name) {
            Some((source, first)) => {
                let message = format!("two {}s are named {}", self.kind, quoted(name));
                let diagnostic = Diagnostic::new(Severity::Error, &file.parsed.source, span, message)
                    .related(source, *first, "the name is used here first")
                    .help(format!(
                        "give one of them another name: a name stands for one {} in metrics",
                        self.kind
                    ));
                file.diagnostics.push(diagnostic);
            }
            None => {
                self.taken.insert(name.to_owned(), (file.parsed.source.clone(), span));
            }
        }
    }
}

fn wrong_name(name: &str) -> Option<(String, String)> {
    let length = format!("write a name of 1 to {MAX_NAME_BYTES} bytes: it becomes a metric label value");
    if name.trim().is_empty() {
        return Some(("the name is empty".into(), length));
    }
    if name.len() > MAX_NAME_BYTES {
        let message = format!("the name is {} bytes long, at most {MAX_NAME_BYTES} are allowed", name.len());
        return Some((message, length));
    }
    if let Some(c) = name.chars().find(|c| !is_printable(*c)) {
        let message = format!("the name contains the unprintable character {}", c.escape_unicode());
        return Some((message, "write printable characters only".into()));
    }
    if name.trim() != name {
        let help = format!("write {}", quoted(name.trim()));
        return Some((format!("the name {} begins or ends with a space", quoted(name)), help));
    }
    None
}
