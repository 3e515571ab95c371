//! `monitor docs`: the parts of the documentation that are made from the code.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;

use crate::{metrics, render::json};

/// Arguments of `monitor docs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to document.
    pub topic: Topic,
}

/// What can be documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Topic {
    /// Every metric.
    Metrics,
    /// The Grafana dashboard, as it is imported.
    Dashboard,
    /// Every command.
    Cli,
    /// Every field of findings and events.
    Findings,
}

/// Columns of the help texts, whatever the terminal has.
const WIDTH: usize = 100;

/// Prints a Markdown document. `cli` is the definition of all commands.
///
/// # Errors
/// If standard output can't be written to.
pub fn run(args: &Args, cli: clap::Command) -> anyhow::Result<ExitCode> {
    let document = match args.topic {
        Topic::Metrics => metrics::markdown(),
        Topic::Dashboard => metrics::dashboard(),
        Topic::Cli => markdown(cli),
        Topic::Findings => json::schema::markdown(),
    };
    match io::stdout().lock().write_all(document.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn markdown(cli: clap::Command) -> String {
    let mut cli = cli.term_width(WIDTH).color(clap::ColorChoice::Never).disable_help_subcommand(true);
    cli.build();
    let mut out = String::from(
        "# Commands\n\n<!-- Made by `monitor docs cli` from the definition of the command line. -->\n",
    );
    section(&mut cli, &mut out);
    out
}

fn section(command: &mut clap::Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    // Help ends lines with blanks where a value has no description.
    let help: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = write!(out, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n"));
    for inner in command.get_subcommands_mut().filter(|inner| !inner.is_hide_set()) {
        section(inner, out);
    }
}

#[cfg(test)]
mod tests {
    use super::markdown;
    use clap::{Arg, Command};

    #[test]
    fn every_command_that_is_not_hidden_has_its_section() {
        let run = Command::new("run").about("Runs.").arg(Arg::new("config").long("config").help("A file."));
        let cli = Command::new("monitor").subcommands([
            run,
            Command::new("docs").hide(true),
            Command::new("ban").subcommand(Command::new("add").about("Bans.")),
        ]);
        let document = markdown(cli);
        for heading in ["## `monitor`", "## `monitor run`", "## `monitor ban`", "## `monitor ban add`"] {
            assert!(document.contains(&format!("\n{heading}\n")), "no {heading} in {document}");
        }
        assert!(!document.contains("docs`\n") && document.contains("--config"), "{document}");
        assert!(!document.lines().any(|line| line.ends_with(' ')), "{document}");
    }
}
