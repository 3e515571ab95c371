//! Files of cases.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use toml_spanner::{Arena, Item, Value};

use crate::{event::Text, policy::ask::Request};

/// The cases of a file.
pub(super) struct Cases {
    pub(super) cases: Vec<Case>,
}

/// One expectation.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) request: Request,
    pub(super) expect: Expect,
    pub(super) rule: Option<String>,
    /// `file:line`
    pub(super) place: String,
}

/// The verdict that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expect {
    Allow,
    Alert,
    Deny,
    Kill,
    Drop,
    None,
}

/// A case as it is written.
#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    expect: Expect,
    rule: Option<String>,
    #[serde(flatten)]
    request: Request,
}

/// What a case may say besides its request.
const KEYS: [&str; 3] = ["name", "expect", "rule"];
const KINDS: [&str; 6] = ["connect", "exec", "bind", "source", "unix", "raw"];

impl Expect {
    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Alert => "alert",
            Self::Deny => "deny",
            Self::Kill => "kill",
            Self::Drop => "drop",
            Self::None => "none",
        }
    }
}

impl Cases {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::parse(path, &text)
    }

    /// Reads a text; `path` is what messages call it.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let shown = Text::new(path.as_os_str().as_encoded_bytes()).to_string();
        let place = |start: usize| {
            let before = text.get(..start).unwrap_or(text);
            format!("{shown}:{}", before.matches('\n').count() + 1)
        };
        let arena = Arena::new();
        let document = match toml_spanner::parse(text, &arena) {
            Ok(document) => document,
            Err(error) => bail!("{}: {error}", place(error.span().range().start)),
        };
        let mut errors = Vec::new();
        let mut cases = Vec::new();
        for (key, item) in document.table() {
            match (key.name, item.value()) {
                ("case", Value::Array(rows)) => {
                    for row in rows {
                        let place = place(row.span().range().start);
                        match case(row, cases.len() + 1, &place) {
                            Ok(case) => cases.push(case),
                            Err(error) => errors.push(format!("{place}: {error:#}")),
                        }
                    }
                }
                _ => errors.push(format!(
                    "{}: a file of cases has `[[case]]` only, not {}",
                    place(key.span.range().start),
                    Text::from(key.name).quoted()
                )),
            }
        }
        if !errors.is_empty() {
            bail!("{}", errors.join("\n"));
        }
        if cases.is_empty() {
            bail!("{shown} has no case; `monitor test --help` shows what one looks like");
        }
        Ok(Self { cases })
    }
}

fn case(row: &Item<'_>, number: usize, place: &str) -> Result<Case> {
    let value = serde_json::to_value(row).context("a value that a case can't have")?;
    let keys = value.as_object().context("a case is a table")?;
    if let Some(unknown) = keys.keys().find(|key| !KEYS.contains(&&key[..]) && !KINDS.contains(&&key[..])) {
        bail!(
            "a case has no key {}; it has {}, and one of {}",
            Text::from(&unknown[..]).quoted(),
            KEYS.join(", "),
            KINDS.join(", ")
        );
    }
    if keys.keys().filter(|key| KINDS.contains(&&key[..])).count() != 1 {
        bail!("a case asks exactly one of {}", KINDS.join(", "));
    }
    let written: Written = serde_json::from_value(value)?;
    Ok(Case {
        name: written.name.unwrap_or_else(|| format!("case {number}")),
        request: written.request,
        expect: written.expect,
        rule: written.rule,
        place: place.to_owned(),
    })
}
