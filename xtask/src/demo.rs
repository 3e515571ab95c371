//! `cargo xtask demo`: what the agent does, shown without touching the host.

use anyhow::{Result, bail};

use crate::{
    build::{self, Profile},
    context::Context,
    setup::{self, Purpose},
    shell::Cmd,
};

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the subcommand; on success this process has become the demo.
pub fn run(_: &Args, context: &Context) -> Result<()> {
    if !context.is_root() {
        bail!(
            "the demo makes namespaces and loads kernel programs, which needs root: run\n  {}",
            context.how_to_be_root()
        );
    }
    setup::ensure(context, Purpose::Test)?;
    let agent = build::agent(context, Profile::Release)?;
    let probes = build::probes(context)?;
    let cargo = Cmd::cargo(context)?.args(["build", "--package", "tests", "--features", "scenarios"]);
    cargo.args(["--bin", "demo", "--release"]).run()?;
    let demo = Cmd::new(context, context.target("release/demo"));
    match demo.env("MONITOR_BIN", agent).env("MONITOR_PROBE_DIR", probes).exec()? {}
}
