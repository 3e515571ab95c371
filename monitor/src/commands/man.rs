//! `monitor man`: the manual pages, from the definition of the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

/// Arguments of `monitor man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory they are written to; made if it isn't there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Writes a page for each command that is not hidden. `cli` is the definition of all commands.
///
/// # Errors
/// If a page can't be written.
pub fn run(args: &Args, cli: clap::Command) -> Result<ExitCode> {
    let out = &args.out;
    fs::create_dir_all(out).with_context(|| format!("can't make {}", out.display()))?;
    let mut cli = cli.disable_help_subcommand(true);
    // Only then commands know what they are called with those before them.
    cli.build();
    pages(&cli, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Nobody looks for a page about a command that isn't told of.
fn pages(command: &clap::Command, out: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = out.join(format!("{name}.1"));
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
    rendered
        .and_then(|()| fs::write(&path, page))
        .with_context(|| format!("can't write {}", path.display()))?;
    command.get_subcommands().filter(|inner| !inner.is_hide_set()).try_for_each(|inner| pages(inner, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    #[test]
    fn each_command_that_is_told_of_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("man");
        let cli = Command::new("monitor").about("Watches.").subcommands([
            Command::new("ban").about("Bans.").subcommand(Command::new("add").about("Adds one.")),
            Command::new("canary").hide(true),
        ]);
        run(&Args { out: out.clone() }, cli).unwrap();
        let mut names: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["monitor-ban-add.1", "monitor-ban.1", "monitor.1"]);
        let page = fs::read_to_string(out.join("monitor-ban-add.1")).unwrap();
        assert!(page.contains("Adds one."), "{page}");
    }
}
