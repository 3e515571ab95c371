//! What secrets look like, whatever program they are given to.

use anyhow::{Context as _, Result};
use regex::bytes::{Captures, Regex};

use super::{MARK, compile};

/// What is in the name of a setting that holds a secret. Names of files and the like are told by their end.
const WORDS: &str = r"(?:passw(?:or)?d|passphrase|passwd|pwd|secret|token|api[-_.]?key|access[-_.]?key|private[-_.]?key|account[-_.]?key|encryption[-_.]?key|credentials?|auth[-_.]?key|signature|sas[-_.]?key)";
/// Whole names, besides.
const NAMES: &str = r"(?:pass|pw|redis(?:cli)?_auth|requirepass|masterauth|authorization|proxy-authorization|x-api-key|cookie)";
/// A name that ends so is of something else.
const HARMLESS: &str =
    r"(?i)[-_.](?:file|path|dir|name|id|type|url|uri|ttl|length|policy|command|cmd|stdin|fd|env)$";

/// Tokens that are known by how they begin.
const TOKENS: &str = r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|sk-[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{30,}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)";

/// Patterns, compiled.
#[derive(Debug)]
pub(super) struct Looks {
    /// An option that says that the next argument is a secret.
    option: Regex,
    /// `name=value` or `name: value` with such a name, anywhere.
    assignment: Regex,
    harmless: Regex,
    /// What stands in front of a secret and behind it, and what is one by itself: the group is the secret.
    others: Vec<Regex>,
    /// Of the policy: the first group, or all of it, is the secret.
    own: Vec<Regex>,
}

impl Looks {
    pub fn new(own: Vec<Regex>) -> Result<Self> {
        let name = format!(r"[A-Za-z0-9_.-]*{WORDS}[A-Za-z0-9_.-]*|\b{NAMES}");
        let value = r#""(?:[^"\\]|\\.)*"?|'[^']*'?|(?:Bearer|Basic|Token|Digest) +[^\s"']+|[^\s&;,'"]+"#;
        let ours = |pattern: &str| compile(pattern).context("a pattern of ours is wrong");
        Ok(Self {
            option: ours(&format!(r"(?i)^--?((?:{name}))$"))?,
            assignment: ours(&format!(r#"(?i)({name})(["']? *(?:=|:|=>) *)({value})"#))?,
            harmless: ours(HARMLESS)?,
            others: vec![
                // An address with a user's password in it.
                ours(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:]*:([^\s/?#]*)@")?,
                ours(r"(?i)\b(?:Bearer|Basic) +([A-Za-z0-9+/=_.~-]{8,})")?,
                ours(r"-----BEGIN [A-Z ]*PRIVATE KEY-----((?s:.*))")?,
                ours(&format!("({TOKENS})"))?,
                // Hashes of passwords.
                ours(r"(\$(?:2[abxy]|5|6|y|argon2[id]{1,2})\$[A-Za-z0-9./$=,+-]{20,})")?,
            ],
            own,
        })
    }

    /// Whether an option says that the next argument is a secret.
    pub fn is_secret_option(&self, arg: &[u8]) -> bool {
        let name = self.option.captures(arg).and_then(|found| found.get(1));
        name.is_some_and(|name| !self.harmless.is_match(name.as_bytes()))
    }

    /// The argument without its secrets; `None` if it has none.
    pub fn without(&self, arg: &[u8]) -> Option<Vec<u8>> {
        let mut text = None;
        let assigned = |found: &Captures<'_>| {
            let (name, between, value) = (&found[1], &found[2], &found[3]);
            if self.harmless.is_match(name) || value.starts_with(b"[redacted") {
                return found[0].to_vec();
            }
            // What opened it closes it, so that what is around stays readable.
            let quote = value.first().filter(|byte| matches!(byte, b'"' | b'\''));
            let quote = quote.map_or(&[][..], std::slice::from_ref);
            [name, between, quote, MARK.as_bytes(), quote].concat()
        };
        replace(&self.assignment, arg, &mut text, assigned);
        for pattern in self.others.iter().chain(&self.own) {
            replace(pattern, arg, &mut text, group);
        }
        text
    }
}

/// Replaces in what is there so far.
fn replace(
    pattern: &Regex,
    arg: &[u8],
    text: &mut Option<Vec<u8>>,
    by: impl FnMut(&Captures<'_>) -> Vec<u8>,
) {
    let now = text.as_deref().unwrap_or(arg);
    if let std::borrow::Cow::Owned(replaced) = pattern.replace_all(now, by) {
        *text = Some(replaced);
    }
}

/// The whole with the first group, if there is one, taken out of it; else the mark alone.
fn group(found: &Captures<'_>) -> Vec<u8> {
    let Some(whole) = found.get(0) else { return Vec::new() };
    let Some(secret) = found.get(1) else { return MARK.into() };
    let (before, after) = (secret.start() - whole.start(), secret.end() - whole.start());
    let bytes = whole.as_bytes();
    if secret.is_empty() {
        return bytes.to_vec();
    }
    [&bytes[..before], MARK.as_bytes(), &bytes[after..]].concat()
}
