//! What is known of every kernel of the ladder: measured once, kept in docs/kernels.json, and compared with each later run.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;

/// Where it is kept.
const PATH: &str = "docs/kernels.json";

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `kernel`, `capability`, `program` or `way`.
    pub kind: String,
    /// What was tried.
    pub name: String,
    /// In one word what came of it.
    pub result: String,
    /// How, or why not.
    pub detail: String,
}

/// What is known, by the guest's name. Its order is the ladder's.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book(pub BTreeMap<String, Vec<Row>>);

impl Book {
    /// Reads what is kept; nothing yet is an empty book.
    pub fn read(context: &Context) -> Result<Self> {
        let path = context.path(PATH);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Writes it.
    pub fn write(&self, context: &Context) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("writing JSON")?;
        text.push('\n');
        let path = context.path(PATH);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// In what a guest differs from what is kept of it, a line each.
    pub fn differences(&self, guest: &str, rows: &[Row]) -> Vec<String> {
        let Some(kept) = self.0.get(guest) else {
            return vec![format!("{PATH} has nothing of it: add it with `--record`")];
        };
        let mut found = Vec::new();
        for was in kept.iter().filter(|row| row.kind != "kernel") {
            match rows.iter().find(|row| row.is_about(was)) {
                None => found.push(format!("{} {:?} was not tried", was.kind, was.name)),
                Some(now) if !now.agrees(was) => found.push(format!(
                    "{} {:?} is \"{}\" ({}), and was \"{}\" ({})",
                    was.kind, was.name, now.result, now.detail, was.result, was.detail
                )),
                Some(_) => {}
            }
        }
        let new = rows.iter().filter(|now| now.kind != "kernel" && !kept.iter().any(|was| was.is_about(now)));
        found.extend(new.map(|row| format!("{} {:?} is new: {}", row.kind, row.name, row.result)));
        found
    }
}

impl Row {
    fn is_about(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }

    /// Whether two rows say the same. Words of the kernel, and those that a failure was seen by, change with its releases.
    fn agrees(&self, other: &Self) -> bool {
        let own_words = matches!(self.result.as_str(), "refused" | "fails");
        self.result == other.result && (own_words || self.detail == other.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, result: &str, detail: &str) -> Row {
        let [kind, name, result, detail] = ["way", name, result, detail].map(str::to_owned);
        Row { kind, name, result, detail }
    }

    #[test]
    fn tells_what_changed_went_and_came() {
        let kept = vec![row("a", "works", "x"), row("b", "refused", "by release 1"), row("c", "works", "x")];
        let book = Book(BTreeMap::from([("6.1".to_owned(), kept.clone())]));
        assert_eq!(book.differences("6.1", &kept), Vec::<String>::new());
        let now = [row("a", "works", "y"), row("b", "refused", "by release 2"), row("d", "fails", "")];
        assert_eq!(
            book.differences("6.1", &now),
            [
                "way \"a\" is \"works\" (y), and was \"works\" (x)",
                "way \"c\" was not tried",
                "way \"d\" is new: fails"
            ]
        );
        assert_eq!(book.differences("6.2", &now).len(), 1);
    }
}
