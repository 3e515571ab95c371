//! Measures what the agent costs others, and prints it as JSON; `cargo xtask bench` makes a table of it.
//!
//! `bench verdicts ROUNDS`: starting a program and opening a connection, paired with and without the agent in one run.
//! A block of operations beside the agent stands between two blocks without it, and is divided by their mean, so that
//! a slow drift of the machine cancels out; the order of what is compared turns round with each round. One of the things
//! compared is nothing at all: how far its ratios lie from 1 tells what the others are worth.
//!
//! `bench findings SECONDS RATE`: whether that many findings a second all arrive in the agent's file, and what that takes.
//!
//! `bench packets ROUNDS SECONDS [ONLY]`: what a packet costs where it is limited, by the same pairing; what arrives of floods of so
//! many seconds; what an honest client notices.

mod cost;
mod empty;
mod findings;
mod host;
mod operation;
mod packets;
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
        ["packets", rounds, seconds, ref only @ ..] if only.len() < 2 => {
            let rounds = rounds.parse().with_context(|| format!("rounds: {rounds:?}"))?;
            let flood_seconds = seconds.parse().with_context(|| format!("seconds: {seconds:?}"))?;
            let only = only.first().map(|only| (*only).to_owned());
            println!("{:#}", packets::run(&packets::Plan { rounds, flood_seconds, only })?);
            Ok(())
        }
        ["findings", seconds, rate] => {
            let seconds = seconds.parse().with_context(|| format!("seconds: {seconds:?}"))?;
            let rate = rate.parse().with_context(|| format!("rate: {rate:?}"))?;
            println!("{:#}", findings::run(seconds, rate)?);
            Ok(())
        }
        _ => bail!(
            "usage: bench verdicts ROUNDS, bench findings SECONDS RATE, or bench packets ROUNDS SECONDS [ONLY]; `cargo xtask bench` builds and runs it"
        ),
    }
}
