//! `cargo xtask run`: the agent on this host, in the foreground.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::{
    build::{self, Profile},
    context::Context,
    setup::{self, Purpose},
    shell::Cmd,
};

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For the agent, as `monitor run` takes them: `-- --config FILE`
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// Runs the subcommand; on success this process has become the agent.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    if !context.is_root() {
        bail!("the agent loads kernel programs, which needs root: run\n  {}", context.how_to_be_root());
    }
    setup::ensure(context, Purpose::Build)?;
    let agent = build::agent(context, Profile::Release)?;
    match Cmd::new(context, agent).arg("run").args(&args.arguments).exec()? {}
}
