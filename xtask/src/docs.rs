//! `cargo xtask docs`: the docs that the agent writes about itself.

use std::{fs, io::ErrorKind};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    setup::{self, Step},
    shell::{Cmd, step},
    vm,
};

/// What `docs` takes.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Change nothing; fail when a file differs from what the agent would write
    #[arg(long)]
    check: bool,
}

/// Each generated file, and the arguments with which the agent prints it.
const FILES: [(&str, &[&str]); 6] = [
    ("docs/monitor.schema.json", &["schema"]),
    ("docs/metrics.md", &["docs", "metrics"]),
    ("deploy/grafana/monitor.json", &["docs", "dashboard"]),
    ("docs/cli.md", &["docs", "cli"]),
    ("docs/findings.md", &["docs", "findings"]),
    ("docs/findings.schema.json", &["schema", "findings"]),
];

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    generate(context, args.check)
}

/// Writes the files anew, or fails when one isn't current.
pub fn generate(context: &Context, check: bool) -> Result<()> {
    setup::ensure_steps(context, &[Step::Toolchain])?;
    // The docs don't depend on the kernel programs, so the build that is quickest will do.
    Cmd::cargo(context)?.args(["build", "--package", "monitor"]).run()?;
    let agent = context.target("debug/monitor");
    let mut stale = Vec::new();
    let mut texts = vec![(vm::KERNELS, vm::markdown(context)?)];
    for (name, arguments) in FILES {
        // Help texts wrap at the width of the terminal; files don't.
        let text = Cmd::new(context, &agent).args(arguments).hidden_env("COLUMNS", "100").read()?;
        texts.push((name, text));
    }
    for (name, text) in texts {
        let path = context.path(name);
        let current = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => Some(read.with_context(|| format!("reading {}", path.display()))?),
        };
        if current.as_ref() == Some(&text) {
            continue;
        }
        if check {
            stale.push(name);
        } else {
            let partial = path.with_extension("partial");
            fs::write(&partial, &text).with_context(|| format!("writing {}", partial.display()))?;
            fs::rename(&partial, &path).with_context(|| format!("writing {}", path.display()))?;
            step(&format!("wrote {name}"));
        }
    }
    if !stale.is_empty() {
        bail!(
            "{} differ from what they are made of: run `cargo xtask docs` and commit the result",
            stale.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Names of the tests in a directory of sources.
    fn tests_below(directory: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                tests_below(&entry.path(), names);
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                if line == "#[test]"
                    && let Some(function) = lines.find_map(|line| line.strip_prefix("fn "))
                {
                    names.extend(function.split('(').next().map(str::to_owned));
                }
            }
        }
    }

    /// Each row says which scenario proves it. One without says that there is nothing to be seen or done.
    #[test]
    fn the_rows_of_the_limits_name_scenarios_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut scenarios = BTreeSet::new();
        tests_below(&root.join("tests/tests"), &mut scenarios);
        assert!(scenarios.len() > 100, "only {} scenarios were found", scenarios.len());
        let text = fs::read_to_string(root.join("docs/limits.md")).unwrap();
        let mut rows = 0;
        for row in text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| scenario |")) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [_, what, proof] = cells[..] else { panic!("not three cells: {row}") };
            rows += 1;
            let names: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
            for name in names.iter().filter(|name| !name.contains(' ')) {
                assert!(scenarios.contains(*name), "no scenario {name}: {row}");
            }
            let empty = proof.is_empty() && !what.contains("can't");
            assert!(!empty, "no scenario, although it doesn't say that nothing can be seen: {row}");
        }
        assert!(rows > 50, "only {rows} rows were found");
    }
}
