//! `cargo xtask soak`: minutes of work, and what the agent holds meanwhile.

use anyhow::{Result, bail};

use crate::{
    build::{self, Profile},
    context::Context,
    setup::{self, Purpose},
    shell::{Cmd, step},
};

/// What `soak` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For how long; a third of it with agents that come and go
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    if !context.is_root() {
        bail!(
            "it makes namespaces and loads kernel programs, which needs root: run\n  {}",
            context.how_to_be_root()
        );
    }
    soak(context, args.minutes)
}

/// Builds what it takes, and lets it run for so many minutes.
pub fn soak(context: &Context, minutes: u32) -> Result<()> {
    setup::ensure(context, Purpose::Test)?;
    let agent = build::agent(context, Profile::Release)?;
    let probes = build::probes(context)?;
    let cargo = Cmd::cargo(context)?.args(["build", "--package", "tests", "--features", "scenarios"]);
    cargo.args(["--bin", "soak", "--release"]).run()?;
    step(&format!("soak for {minutes} minutes"));
    let soak = Cmd::new(context, context.target("release/soak")).arg((minutes * 60).to_string());
    soak.env("MONITOR_BIN", agent).env("MONITOR_PROBE_DIR", probes).run()
}
