//! `monitor events`: the last events and findings of the running agent, and those to come.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};

use crate::control::{
    Request,
    client::Client,
    events::{Ended, Events, Told},
};

/// Arguments of `monitor events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what happens from now on, until interrupted.
    #[arg(long, short)]
    pub follow: bool,
    /// Findings only: what a rule decided on. They are kept for longer than other events.
    #[arg(long)]
    pub findings: bool,
    /// Only these kinds of events (exec, connect, limit, ...).
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only findings of these rules.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub rule: Vec<String>,
    /// Only where the path of the program that did it, or was started, contains this.
    #[arg(long, value_name = "PART")]
    pub exe: Option<String>,
    /// Only what is not older: a span (`10m`, `2h 30m`) or a time (`2026-11-23T17:40:00Z`).
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Timestamp>,
    /// Print an object a line, as a sink with `format = "json"` writes it.
    #[arg(long)]
    pub json: bool,
    /// Run directory of the agent that is asked.
    #[arg(long, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
}

/// A time, or a span before now.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let span: SignedDuration =
        text.parse().map_err(|_| "neither a span, as 10m, nor a time, as 2026-11-23T17:40:00Z".to_owned())?;
    Timestamp::now().checked_sub(span.abs()).map_err(|error| error.to_string())
}

/// Prints them.
///
/// # Errors
/// When the agent doesn't run, or what it says.
pub fn run(args: &Args) -> Result<ExitCode> {
    let colour =
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let request = Request::Events(Events {
        kinds: args.kind.clone(),
        rules: args.rule.clone(),
        exe: args.exe.clone(),
        since: args.since.map(Timestamp::as_second),
        findings: args.findings,
        follow: args.follow,
        json: args.json,
        colour: colour && !args.json,
    });
    let mut client = Client::connect(&args.run_dir)?;
    if args.follow {
        client.wait_for_ever()?;
    }
    let mut out = Printing { out: io::stdout().lock(), json: args.json };
    let outcome = client.ask::<Told, Ended>(&request, |told| out.print(told));
    match outcome {
        Err(error) if error.is::<Enough>() => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(_) if args.follow => bail!("the agent has stopped"),
        Ok(ended) => {
            if ended.told == 0 {
                eprintln!("monitor: no such event is kept; {HINT}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

const HINT: &str = "the agent keeps the last 8192 events and 1024 findings of this run, and events of sockets only where a \
                    rule speaks of them or a [[sink]] has `events = true`";

/// The reader of standard output has seen enough.
#[derive(Debug)]
struct Enough;

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader has gone")
    }
}

impl std::error::Error for Enough {}

struct Printing<W> {
    out: W,
    json: bool,
}

impl<W: io::Write> Printing<W> {
    fn print(&mut self, told: Told) -> Result<()> {
        let line = match told {
            Told::Line(line) => line,
            Told::Missed(count) if self.json => format!("{{\"missed\":{count}}}"),
            Told::Missed(count) => {
                format!("... {count} events are missing here: they came faster than they were read")
            }
        };
        match writeln!(self.out, "{line}").and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Enough.into()),
            written => written.context("can't write to standard output"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_before_now_and_a_time_is_a_time() {
        let ago = Timestamp::now().duration_since(since("10m").unwrap());
        assert!((ago - SignedDuration::from_mins(10)).abs() < SignedDuration::from_secs(5), "{ago}");
        assert_eq!(since("2026-11-23T17:40:00Z").unwrap().as_second(), 1_795_455_600);
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn what_is_missing_is_said_in_its_place() {
        for (json, wanted) in [(true, "{\"missed\":3}\n"), (false, "... 3 events are missing")] {
            let mut printing = Printing { out: Vec::new(), json };
            printing.print(Told::Line("a line".into())).unwrap();
            printing.print(Told::Missed(3)).unwrap();
            let text = String::from_utf8(printing.out).unwrap();
            assert!(text.starts_with("a line\n") && text[7..].starts_with(wanted), "{text}");
        }
    }
}
