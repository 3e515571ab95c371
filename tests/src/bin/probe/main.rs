//! The program that scenarios run, copy and count: servers, clients, floods and launchers.
//!
//! `probe COMMAND [key=value]... [-- argument...]`. What a command found out is one line of JSON on standard
//! output; a mistake in its arguments goes to standard error with exit code 2. It knows nothing of the agent,
//! so what it reports is an oracle.

mod bind;
mod client;
mod distinct;
mod forge;
mod hand;
mod launch;
mod memory;
mod mount;
mod net;
mod obey;
mod persist;
mod ring;
mod serve;
mod talk;
mod unix;
mod ways;
mod words;

use std::{collections::BTreeMap, io, process::ExitCode};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{launch::turn::Refused, words::Words};

fn main() -> ExitCode {
    let Err(error) = Words::from_process().and_then(|words| run(&words)) else { return ExitCode::SUCCESS };
    match error.downcast_ref::<Refused>() {
        Some(Refused(error)) => {
            say(&json!({ "refused": error_name(error) }));
            ExitCode::from(3)
        }
        None => {
            eprintln!("probe: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Carries out one command.
fn run(words: &Words) -> Result<()> {
    match words.command() {
        "serve" => serve::serve(words),
        "tally" => serve::tally(words),
        "unix-serve" => unix::serve(words),
        "connect" => client::connect(words),
        "reach" => client::reach(words),
        "attempt" => client::attempt(words),
        "distinct" => distinct::distinct(words),
        "flood" => client::flood(words),
        "forge" => forge::forge(words),
        "echo" => talk::echo(words),
        "sink" => talk::sink(words),
        "talk" => talk::talk(words),
        "bulk" => talk::bulk(words),
        "unix" => unix::unix(words),
        "bind" => bind::bind(words),
        "raw" => bind::raw(words),
        "memory" => memory::memory(words),
        "give" => hand::give(words),
        "accept" => hand::accept(words),
        "inherit" => hand::inherit(words),
        "speak" => hand::speak(words),
        "stay" => hand::stay(words),
        "spawn" => launch::spawn(words),
        "fork" => launch::fork(words),
        "overfull" => launch::overfull::overfull(words),
        "obey" => obey::obey(),
        "ring" => ring::ring(words),
        "persist" => persist::persist(words),
        "hold" => hold(),
        "exit" => std::process::exit(words.number("code")?.unwrap_or(0)),
        other => launch::turn::find(other).with_context(|| format!("no command {other:?}"))?(words),
    }
}

/// Says its pid and stays until standard input closes.
fn hold() -> Result<()> {
    say(&json!({ "pid": std::process::id() }));
    until_stdin_closes()
}

fn until_stdin_closes() -> Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).context("reading standard input")?;
    Ok(())
}

fn wait_for_line() -> Result<()> {
    io::stdin().read_line(&mut String::new()).context("reading standard input")?;
    Ok(())
}

fn say(value: &Value) {
    println!("{value}");
}

/// Counts of outcomes by name: `ok`, or the name of the error.
#[derive(Default)]
struct Outcomes(BTreeMap<String, u64>);

impl Outcomes {
    fn add<T>(&mut self, result: &io::Result<T>) {
        match result {
            Ok(_) => self.count("ok"),
            Err(error) => self.count(&error_name(error)),
        }
    }

    fn count(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    fn json(&self) -> Value {
        json!(self.0)
    }
}

fn error_name(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return format!("{:?}", error.kind()) };
    match number {
        libc::EPERM => "EPERM".into(),
        libc::EACCES => "EACCES".into(),
        libc::ENOENT => "ENOENT".into(),
        libc::EAGAIN => "EAGAIN".into(),
        libc::ENOBUFS => "ENOBUFS".into(),
        libc::ECONNREFUSED => "ECONNREFUSED".into(),
        libc::ECONNRESET => "ECONNRESET".into(),
        libc::ETIMEDOUT => "ETIMEDOUT".into(),
        libc::ENETUNREACH => "ENETUNREACH".into(),
        libc::EHOSTUNREACH => "EHOSTUNREACH".into(),
        libc::EADDRINUSE => "EADDRINUSE".into(),
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL".into(),
        other => format!("errno {other}"),
    }
}
