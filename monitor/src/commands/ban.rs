//! `monitor ban`: bans by hand, and who serves a penalty.

mod add;
mod del;
mod list;

pub(crate) use add::duration;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::control::client::Client;

/// Arguments of `monitor ban`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directory of the agent that is asked.
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Ban an address or network, or all in a file.
    ///
    /// A ban that is there already gets the new end and reason. The exit code is 1 if one was not taken.
    Add(add::Args),
    /// Take out a ban and penalties.
    ///
    /// The exit code is 1 if there was nothing to take out.
    Del(del::Args),
    /// List bans by hand and penalties that are being served.
    List(list::Args),
}

/// Asks the running agent.
///
/// # Errors
/// When it doesn't run, or what it says.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut client = Client::connect(&args.run_dir)?;
    match &args.what {
        What::Add(args) => add::run(&mut client, args),
        What::Del(args) => del::run(&mut client, args),
        What::List(args) => list::run(&mut client, args),
    }
}

/// Writes to standard output; that the reader has seen enough is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write to standard output")
        }
        _ => Ok(()),
    }
}

/// `1 ban`, `2 bans`.
fn counted(count: usize, what: &str) -> String {
    if what == "penalty" && count != 1 {
        return format!("{count} penalties");
    }
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
