//! The workloads and the references to them.

mod dimensions;

use std::collections::HashMap;

use super::{Checker, Names};
use crate::config::diagnostic::Diagnostic;
use crate::config::limits::MAX_WORKLOADS;
use crate::config::model::Workload;
use crate::config::raw::{self, At, List};
use crate::config::source::quoted;
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
        let mut names = Names::new("workload", &[]);
        let mut found = Self { files, list: Vec::new(), by_name: HashMap::new() };
        let mut count = 0;
        let mut indices = Vec::new();
        for parsed in files {
            let mut file = Checker { parsed, diagnostics };
            for raw in parsed.file.workload.items() {
                file.count_workload(&mut count, raw.span);
                indices.push(found.add(&mut file, raw, &mut names));
            }
        }
        found.refer(&indices, diagnostics);
        found
    }

    /// Adds what a workload says about itself; its index, if it got one.
    fn add(&mut self, file: &mut Checker, raw: &'a At<raw::Workload>, names: &mut Names) -> Option<usize> {
        let name = names.take(file, &raw.value.name, "workload", raw.span);
        let workload = dimensions::workload(file, raw, name.map_or("", |name| &name.value));
        let name = name?;
        self.by_name.entry(&name.value).or_insert(self.list.len());
        if self.list.len() >= MAX_WORKLOADS {
            return None;
        }
        self.list.push(workload);
        Some(self.list.len() - 1)
    }

    /// Adds what workloads say about each other, once all names are known.
    fn refer(&mut self, indices: &[Option<usize>], diagnostics: &mut Vec<Diagnostic>) {
        let files = self.files;
        let all = || {
            files.iter().flat_map(|parsed| parsed.file.workload.items().iter().map(move |raw| (parsed, raw)))
        };
        for ((parsed, raw), index) in all().zip(indices) {
            let mut file = Checker { parsed, diagnostics };
            let mut refer = |key, field: &raw::Field<List<String>>| match field.given() {
                Some(names) => {
                    dimensions::refuse_empty(&mut file, names, key);
                    self.indices(&mut file, &names.value)
                }
                None => Vec::new(),
            };
            let (parents, ancestors) =
                (refer("parent", &raw.value.parent), refer("ancestor", &raw.value.ancestor));
            if let Some(workload) = index.and_then(|index| self.list.get_mut(index)) {
                (workload.parents, workload.ancestors) = (parents, ancestors);
            }
        }
        let possible = self.possible();
        for ((parsed, raw), index) in all().zip(indices) {
            let Some(index) = index.filter(|index| possible.get(*index) == Some(&false)) else { continue };
            let message = format!("no process can be a member of {}", quoted(&self.list[index].name));
            let help = "its `parent` or `ancestor` leads only back to itself: name a workload there that can have members without it";
            let mut file = Checker { parsed, diagnostics };
            file.error(file.header(raw.span), message, help);
        }
    }

    /// Which workloads can have members: those that need a member of another one can if the other one can.
    fn possible(&self) -> Vec<bool> {
        let mut possible = vec![false; self.list.len()];
        loop {
            let can = |list: &[usize]| {
                list.is_empty() || list.iter().any(|index| possible.get(*index).copied().unwrap_or(true))
            };
            let next: Vec<_> =
                self.list.iter().map(|workload| can(&workload.parents) && can(&workload.ancestors)).collect();
            if next == possible {
                return possible;
            }
            possible = next;
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
