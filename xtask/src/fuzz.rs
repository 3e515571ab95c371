//! `cargo xtask fuzz`: the readers of bytes from others, for longer than the tests take.

use anyhow::Result;

use crate::{
    context::Context,
    setup::{self, Step},
    shell::Cmd,
};

/// What `fuzz` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only targets with this in their name
    target: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    setup::ensure_steps(context, &[Step::Toolchain])?;
    for package in
        [&["--package", "monitor", "--lib"][..], &["--package", "monitor-common", "--test", "etherparse"]]
    {
        let target = format!("fuzzed_{}", args.target.as_deref().unwrap_or_default());
        // Optimised, with the checks of a debug build: an overflow counts as a failure.
        let cargo = Cmd::cargo(context)?.args(["test", "--profile", "fuzz"]).args(package);
        let cargo = cargo.args(["--", "--test-threads=1", "--nocapture", &target]);
        cargo.env("FUZZ_SECONDS", args.seconds.to_string()).run()?;
    }
    Ok(())
}
