//! `cargo xtask build`: the kernel programs, then the agent that carries them.

mod kernel;
mod object;
mod report;

use std::path::PathBuf;

use anyhow::Result;

pub use kernel::{cargo as kernel_cargo, kernel_object, path_with_tools};

use crate::{
    context::{Context, MUSL},
    setup::{self, Purpose},
    shell::{Cmd, step},
};

/// What `build` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Optimised, as it is installed (the default)
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Quick to compile, for work on the agent; the kernel programs are always optimised
    #[arg(long)]
    debug: bool,
    /// Only the kernel programs, not the agent
    #[arg(long, conflicts_with_all = ["release", "debug", "no_load"])]
    kernel_only: bool,
    /// Don't ask the agent to load the programs for the verifier's numbers
    #[arg(long)]
    no_load: bool,
}

/// How the agent is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to compile.
    Debug,
    /// As it is installed.
    Release,
}

impl Profile {
    /// Cargo's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "dev",
            Self::Release => "release",
        }
    }

    /// The directory that cargo builds it in.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let profile = if args.debug { Profile::Debug } else { Profile::Release };
    setup::ensure(context, Purpose::Build)?;
    let object = kernel_object(context)?;
    if args.kernel_only {
        report::print(context, &object, Err("--kernel-only was given"))?;
        step(&format!("built {}", object.display()));
        return Ok(());
    }
    let agent = agent(context, profile)?;
    report::print(context, &object, if args.no_load { Err("--no-load was given") } else { Ok(&agent) })?;
    step(&format!("built {}", agent.display()));
    Ok(())
}

/// Builds both sides for this machine; the path of the agent.
pub fn agent(context: &Context, profile: Profile) -> Result<PathBuf> {
    let object = kernel_object(context)?;
    let cargo = Cmd::cargo(context)?.args(["build", "--package", "monitor", "--profile", profile.name()]);
    cargo.env("MONITOR_EBPF_OBJECT", object).run()?;
    Ok(context.target(profile.directory()).join("monitor"))
}

/// Builds both sides as one static binary, for guests; the path of the agent.
pub fn static_agent(context: &Context) -> Result<PathBuf> {
    let object = kernel_object(context)?;
    let cargo = Cmd::cargo(context)?.args(["build", "--package", "monitor", "--release", "--target", MUSL]);
    cargo.env("MONITOR_EBPF_OBJECT", object).run()?;
    Ok(context.target(MUSL).join("release/monitor"))
}

/// Builds the programs that scenarios start, as static binaries; the directory that holds them.
pub fn probes(context: &Context) -> Result<PathBuf> {
    let cargo =
        Cmd::cargo(context)?.args(["build", "--package", "tests", "--bins", "--release", "--target", MUSL]);
    cargo.run()?;
    Ok(context.target(MUSL).join("release"))
}
