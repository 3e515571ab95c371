//! Measures what the agent costs others, and prints it as JSON; `cargo xtask bench` makes a table of it.
//!
//! `bench verdicts ROUNDS`: starting a program and opening a connection, paired with and without the agent in one run.
//! A block of operations beside the agent stands between two blocks without it, and is divided by their mean, so that
//! a slow drift of the machine cancels out; the order of what is compared turns round with each round. One of the things
//! compared is nothing at all: how far its ratios lie from 1 tells what the others are worth.

mod cost;
mod empty;
mod host;
mod operation;
mod policy;
mod ratio;
mod side;
mod tracer;
mod verdicts;

use std::{env, process::ExitCode};

use anyhow::{Context, Result, bail};
use tests::interrupt;

fn main() -> ExitCode {
    interrupt::install();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if interrupt::seen() => {
            eprintln!("bench: stopped; everything it made is removed ({error})");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["verdicts", rounds] => {
            let rounds = rounds.parse().with_context(|| format!("rounds: {rounds:?}"))?;
            println!("{:#}", verdicts::run(rounds)?);
            Ok(())
        }
        _ => bail!("usage: bench verdicts ROUNDS; `cargo xtask bench` builds and runs it"),
    }
}
