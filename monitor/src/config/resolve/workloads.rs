//! The workloads and the references to them.

use std::collections::HashMap;

use super::{Checker, Names};
use crate::config::diagnostic::Diagnostic;
use crate::config::limits::{MAX_PATTERNS, MAX_WORKLOADS};
use crate::config::model::{Pattern, Workload};
use crate::config::pattern;
use crate::config::raw::{self, At, List};
use crate::config::source::{Spanned, quoted};
use crate::config::suggest::{list, nearest};
use crate::config::syntax::Parsed;

/// All workloads of all files.
pub(super) struct Workloads<'a> {
    files: &'a [Parsed],
    list: Vec<Workload>,
    by_name: HashMap<&'a str, usize>,
}

impl<'a> Workloads<'a> {
    pub fn resolve(files: &'a [Parsed], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut names = Names::new("workload");
        let mut found = Self { files, list: Vec::new(), by_name: HashMap::new() };
        let mut count = 0;
        for parsed in files {
            let mut file = Checker { parsed, diagnostics };
            for raw in parsed.file.workload.items() {
                file.count_workload(&mut count, raw.span);
                found.add(&mut file, raw, &mut names);
            }
        }
        found
    }

    fn add(&mut self, file: &mut Checker, raw: &'a At<raw::Workload>, names: &mut Names) {
        let name = names.take(file, &raw.value.name, "workload", raw.span);
        let exe = file.required(&raw.value.exe, "workload", "exe", raw.span);
        let exe = exe.map(|exe| patterns(file, exe, "exe", false)).unwrap_or_default();
        let Some(name) = name else { return };
        self.by_name.entry(&name.value).or_insert(self.list.len());
        if self.list.len() < MAX_WORKLOADS {
            self.list.push(Workload { name: name.value.clone(), exe, place: file.place(raw.span) });
        }
    }

    /// The indices of the named workloads, sorted. Unknown names are reported.
    pub fn indices(&self, file: &mut Checker, names: &List<String>) -> Vec<usize> {
        let mut indices = Vec::new();
        for name in &names.items {
            match self.by_name.get(name.value.as_str()) {
                Some(index) if indices.contains(index) => {
                    let message = format!("the workload {} is listed twice", quoted(&name.value));
                    file.warn(name.span, message, "remove one of them");
                }
                Some(index) => indices.push(*index),
                None if self.files.iter().any(|parsed| parsed.may_define(&name.value)) => {}
                None => self.unknown(file, name),
            }
        }
        indices.sort_unstable();
        indices
    }

    fn unknown(&self, file: &mut Checker, name: &At<String>) {
        let known = || self.list.iter().map(|workload| workload.name.as_str());
        let help = match nearest(&name.value, known()) {
            Some(near) => format!("did you mean {}? Known workloads: {}", quoted(near), list(known())),
            None if self.list.is_empty() => {
                "no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`".into()
            }
            None => format!("known workloads: {}; or add `[[workload]]` with this name", list(known())),
        };
        file.error(name.span, format!("unknown workload {}", quoted(&name.value)), help);
    }

    pub fn list(&self) -> &[Workload] {
        &self.list
    }

    pub fn into_list(self) -> Vec<Workload> {
        self.list
    }
}

/// Reads the paths and globs of a key; wrong ones are reported.
pub(super) fn patterns(
    file: &mut Checker,
    raw: &At<List<String>>,
    key: &str,
    classes: bool,
) -> Vec<Spanned<Pattern>> {
    let items = &raw.value.items;
    if items.is_empty() && !raw.value.incomplete {
        file.error(
            raw.span,
            format!("`{key}` is empty and would match nothing"),
            "list at least one path or glob",
        );
    }
    if let Some(first) = items.get(MAX_PATTERNS) {
        let help = format!("`{key}` may have up to {MAX_PATTERNS} entries: use globs");
        file.error(first.span, format!("more than {MAX_PATTERNS} entries in `{key}`"), help);
    }
    let mut found: Vec<Spanned<Pattern>> = Vec::new();
    for item in items.iter().take(MAX_PATTERNS) {
        let Some(pattern) = file.accept(item.span, pattern::parse(&item.value, classes)) else { continue };
        if found.iter().any(|other| other.value == pattern) {
            file.warn(
                item.span,
                format!("{} is listed twice in `{key}`", quoted(&item.value)),
                "remove one of them",
            );
        } else {
            found.push(file.spanned(pattern, item.span));
        }
    }
    found
}
