//! Takes secrets out of command lines before anybody sees them: findings go to files, to terminals and to other hosts, and live
//! longer there than the password was meant to.
//!
//! It works on what arguments look like, so it can miss a secret that looks like nothing, and takes out a few things that
//! are none. What the kernel decides by isn't touched: rules see the arguments as they are.

mod clients;
mod looks;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use regex::bytes::Regex;

use crate::{
    config,
    event::{Program, Text},
};
use clients::{Client, client};
use looks::Looks;

/// What stands in the place of a secret.
pub const MARK: &str = "[redacted]";

/// Knows what secrets look like.
#[derive(Debug, Clone)]
pub struct Redactor {
    looks: Option<Arc<Looks>>,
}

impl Redactor {
    /// As the policy says.
    ///
    /// # Errors
    /// When a pattern of the policy can't be used.
    pub fn new(redact: &config::Redact) -> Result<Self> {
        let config::Redact::Patterns(patterns) = redact else { return Ok(Self { looks: None }) };
        let own = patterns.iter().map(|pattern| {
            compile(&pattern.value).with_context(|| format!("{}: [agent] redact", pattern.place))
        });
        Ok(Self { looks: Some(Arc::new(Looks::new(own.collect::<Result<_>>()?)?)) })
    }

    /// The program with its secrets taken out.
    #[must_use]
    pub fn program(&self, mut program: Program) -> Program {
        if let Some(looks) = &self.looks {
            program.args = args(looks, &program.path, program.args);
        }
        program
    }
}

impl Redactor {
    /// A text of several lines with its secrets taken out, line by line; nothing is taken out if that is switched off.
    #[must_use]
    pub fn lines(&self, text: &[u8]) -> Vec<u8> {
        let Some(looks) = &self.looks else { return text.to_owned() };
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.flat_map(|line| looks.without(line).unwrap_or_else(|| line.to_owned())).collect()
    }
}

/// A pattern as the policy has it. Bytes, not characters: an argument need not be text.
///
/// # Errors
/// When it can't be used.
pub fn compile(pattern: &str) -> Result<Regex> {
    let mut builder = regex::bytes::RegexBuilder::new(pattern);
    builder.unicode(false).size_limit(SIZE).build().context("it is no regular expression")
}

/// Bytes that one pattern may take.
const SIZE: usize = 1 << 20;

fn args(looks: &Looks, path: &Text, args: Vec<Text>) -> Vec<Text> {
    let client = client(path.bytes(), args.first().map(Text::bytes).unwrap_or_default());
    // What the argument before says of the next one.
    let mut next = false;
    let mut out = Vec::with_capacity(args.len());
    for (at, arg) in args.into_iter().enumerate() {
        // Also its own name is asked: a process may change that to anything.
        let secret = std::mem::take(&mut next) && !arg.is_empty();
        next = at > 0 && announces(looks, client, arg.bytes());
        out.push(if secret { Text::from(MARK) } else { one(looks, client.filter(|_| at > 0), arg) });
    }
    out
}

/// Whether the next argument is a secret.
fn announces(looks: &Looks, client: Option<&Client>, arg: &[u8]) -> bool {
    looks.is_secret_option(arg) || client.is_some_and(|client| client.next.contains(&arg))
}

/// An argument without what is secret in it.
fn one(looks: &Looks, client: Option<&Client>, arg: Text) -> Text {
    let attached =
        client.and_then(|client| client.attached.iter().find(|option| arg.bytes().starts_with(option)));
    if let Some(option) = attached.filter(|option| arg.bytes().len() > option.len()) {
        return Text::new([option, MARK.as_bytes()].concat());
    }
    if let Some(cut) = client.and_then(|client| client.inside).and_then(|inside| inside(arg.bytes())) {
        return Text::new(cut);
    }
    looks.without(arg.bytes()).map_or(arg, Text::new)
}

#[cfg(test)]
mod tests;
