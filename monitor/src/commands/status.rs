//! `monitor status`: whether the running agent is healthy, and what it does here.

mod text;

pub(crate) use text::{show, span};

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{
    control::{
        Request,
        client::{Client, NotRunning},
        status::{Finding, Status},
    },
    overview::Overview,
};

/// Exit code when something is the matter.
const UNHEALTHY: u8 = 1;
/// Exit code when no agent runs.
const NOT_RUNNING: u8 = 2;

/// Arguments of `monitor status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print nothing; the exit code alone tells.
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
    /// Run directory of the agent that is asked.
    #[arg(long, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
}

/// Asks the running agent.
///
/// # Errors
/// What the agent says, or that one may not ask it. That it doesn't run is no error.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut client = match Client::connect(&args.run_dir) {
        Ok(client) => client,
        Err(error) if error.is::<NotRunning>() => {
            if args.json {
                print(b"{\"running\":false,\"healthy\":false}\n")?;
            }
            if !args.quiet {
                eprintln!("monitor: {error:#}");
            }
            return Ok(ExitCode::from(NOT_RUNNING));
        }
        Err(error) => return Err(error),
    };
    let overview: Overview = client.ask(&Request::Status(Status::default()), |_: Finding| Ok(()))?;
    if args.json {
        print(&json(&overview)?)?;
    } else if !args.quiet {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        print(show(&overview, colour).as_bytes())?;
    }
    Ok(if overview.healthy { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) })
}

fn json(overview: &Overview) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(overview).context("can't write the answer as JSON")?;
    value["running"] = true.into();
    let mut text = serde_json::to_vec_pretty(&value).context("can't write the answer as JSON")?;
    text.push(b'\n');
    Ok(text)
}

fn print(text: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write to standard output")
        }
        _ => Ok(()),
    }
}
