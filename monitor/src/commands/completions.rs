//! `monitor completions`: completion scripts for shells.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap_complete::Shell;

/// Arguments of `monitor completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to complete in.
    pub shell: Shell,
}

/// Prints the script. `cli` is the definition of all commands.
///
/// # Errors
/// If standard output can't be written to.
pub fn run(args: &Args, cli: clap::Command) -> anyhow::Result<ExitCode> {
    match io::stdout().lock().write_all(&script(args.shell, cli)) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell, mut cli: clap::Command) -> Vec<u8> {
    let name = cli.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::{Shell, script};
    use clap::{Command, ValueEnum as _};

    #[test]
    fn every_shell_gets_a_script_that_names_the_commands() {
        for shell in Shell::value_variants() {
            let cli = Command::new("monitor").subcommand(Command::new("doctor"));
            let script = String::from_utf8(script(*shell, cli)).unwrap();
            assert!(script.contains("monitor") && script.contains("doctor"), "{shell}: {script}");
        }
    }
}
