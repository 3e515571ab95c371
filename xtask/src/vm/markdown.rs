//! docs/kernels.md: what is known of every kernel, for people.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use super::{
    book::{Book, Row},
    guests,
};
use crate::context::Context;

/// Where it is.
pub const PATH: &str = "docs/kernels.md";

const HEAD: &str = "\
# Kernels

Generated from [kernels.json](kernels.json), which `cargo xtask vm --kernel all --variant all --record` measures: each of these kernels,
as Debian ships it, is booted in an emulator, an agent is started with a rule for every way of enforcing, and real programs try
what the rules forbid. CI measures the same anew and fails when anything differs.

**works**: as the policy says. **falls back**: it holds, in the way that the notes say. **refused**: an agent that is told
to enforce such a rule doesn't start, and says why and what helps; `degrade = \"observe\"` has it report only.
`monitor doctor` tells the same of the kernel that it runs on.

`no-lsm`: `bpf` is not in the list `lsm=`. `lockdown`: booted with `lockdown=confidentiality`. `no-cgroup2`: no cgroup v2 tree is mounted.
";

/// Writes it.
pub fn write(context: &Context) -> Result<()> {
    let path = context.path(PATH);
    fs::write(&path, kernels(context)?).with_context(|| format!("writing {}", path.display()))
}

/// The text.
pub fn kernels(context: &Context) -> Result<String> {
    let book = Book::read(context)?;
    let names: Vec<String> = guests::ladder()
        .into_iter()
        .map(|(kernel, variant)| format!("{}{}", kernel.name, variant.suffix()))
        .filter(|name| book.0.contains_key(name))
        .collect();
    let mut out = HEAD.to_owned();
    let mut notes = Notes::default();
    let _ = writeln!(out, "\n## What was measured\n\n| guest | kernel |\n|---|---|");
    for name in &names {
        let kernel = book.0[name].iter().find(|row| row.kind == "kernel");
        let _ = writeln!(out, "| {name} | {} |", kernel.map_or("", |row| &row.name));
    }
    for (kind, title) in [("way", "Ways of enforcing"), ("capability", "What `monitor doctor` says")] {
        let _ = writeln!(out, "\n## {title}\n");
        table(&book, &names, kind, &mut notes, &mut out);
    }
    let _ = writeln!(
        out,
        "\n## Programs\n\nWhat the verifier says of each kernel program, loaded alone. \
         \"Nearly too much\": it loads, after more than three quarters of the million instructions that the verifier walks through.\n"
    );
    table(&book, &names, "program", &mut notes, &mut out);
    let _ = writeln!(out, "\n## Notes\n");
    for (number, note) in notes.0.iter().enumerate() {
        let _ = writeln!(out, "{}. {note}", number + 1);
    }
    Ok(out)
}

/// What cells refer to by number.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, text: &str) -> usize {
        // A line of a table or list can't have breaks or what Markdown takes for its own.
        let text =
            text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "\\<");
        let found = self.0.iter().position(|note| *note == text);
        found.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        }) + 1
    }
}

fn table(book: &Book, names: &[String], kind: &str, notes: &mut Notes, out: &mut String) {
    let _ = writeln!(out, "| | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    let mut rows: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    // The newest kernels have all there is, in the order in which it is tried.
    for row in names.iter().rev().flat_map(|name| &book.0[name]).filter(|row| row.kind == kind) {
        if seen.insert(&row.name) {
            rows.push(&row.name);
        }
    }
    for row in rows {
        let cell = |name: &String| {
            let found = book.0[name].iter().find(|found| found.kind == kind && found.name == row);
            found.map_or_else(String::new, |found| shown(found, notes))
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        let _ = writeln!(out, "| {row} | {} |", cells.join(" | "));
    }
}

fn shown(row: &Row, notes: &mut Notes) -> String {
    match row.detail.as_str() {
        "" => row.result.clone(),
        detail => format!("{} <sup>{}</sup>", row.result, notes.number(detail)),
    }
}
