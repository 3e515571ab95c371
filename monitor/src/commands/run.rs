//! `monitor run`: the agent.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    agent, config,
    control::access::Access,
    host::{cgroup, trust},
    kernel::{
        load::{KernelLog, Room},
        pins, support,
    },
    safety::{self, Seccomp},
};

/// Arguments of `monitor run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file. Without it, /etc/monitor/monitor.toml if there is one, else built-in defaults: observe mode,
    /// every event to standard output.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How findings are written to standard output, whatever the configuration says.
    #[arg(long, value_enum)]
    pub format: Option<config::Format>,
    /// Directory for the lock that keeps a second agent away, and for the socket at which `monitor ban` asks.
    #[arg(long, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
    /// Directory for what is kept between runs: bans and penalties.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/monitor")]
    pub state_dir: PathBuf,
    /// Directory of a BPF file system for what outlives the agent: what is pinned in there goes on judging when the agent is
    /// killed, and the next run takes over from it. Mounted if there is no such file system.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/monitor")]
    pub pin_dir: PathBuf,
    /// Leaves what is in force in force when the agent is told to stop (SIGTERM, SIGINT), as if it were killed: for
    /// restarts without a gap. `monitor stop` takes it off.
    #[arg(long)]
    pub keep: bool,
    /// How much the kernel programs themselves log, to standard error; for those who debug them.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t)]
    pub kernel_log: KernelLog,
    /// How many processes the kernel programs remember; 192 bytes each. Whoever has no place is a member of no workload.
    #[arg(long, value_name = "N", default_value_t = Room::USUAL.processes, value_parser = clap::value_parser!(u32).range(16..=4_194_304))]
    pub max_processes: u32,
    /// How many connections to and of databases they remember until they end. Those without a place are judged, but not counted
    /// as open, nor is their traffic.
    #[arg(long, value_name = "N", default_value_t = Room::USUAL.connections, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_connections: u32,
    /// What becomes of a system call that the agent has no need for.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub seccomp: Seccomp,
}

/// Runs the agent until SIGINT or SIGTERM. SIGHUP has it read the policy anew.
///
/// # Errors
/// What keeps it from starting, or made it stop.
pub fn run(args: &Args) -> Result<ExitCode> {
    for directory in [&args.run_dir, &args.state_dir] {
        own(directory)?;
    }
    let (mut config, warnings) = config::Config::load(args.config.as_deref())?;
    for warning in &warnings {
        tracing::warn!("{}: {}", warning.place(), warning.message());
    }
    if let Some(format) = args.format {
        let mut stdout =
            config.sinks.iter_mut().filter(|sink| sink.target == config::Target::Stdout).peekable();
        ensure!(
            stdout.peek().is_some(),
            "--format says how standard output is written, and no [[sink]] is `stdout`"
        );
        stdout.for_each(|sink| sink.format = format);
    }
    // Here there is one thread yet, so it holds for all.
    support::require_root()?;
    // It may not mount anything later.
    if let Err(error) = pins::prepare(&args.pin_dir) {
        tracing::warn!("{error:#}");
    }
    // Nor make a view of the cgroup tree; where it can't have one, it says so when the scope is opened.
    let _ = cgroup::mount_point();
    Access::new(&config.control)?.join()?;
    safety::confine(args.seccomp, config.metrics.listen.port())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the asynchronous runtime")?;
    let options = agent::run::Options {
        config,
        config_path: args.config.clone(),
        run_dir: args.run_dir.clone(),
        state_dir: args.state_dir.clone(),
        pin_dir: args.pin_dir.clone(),
        keep: args.keep,
        kernel_log: args.kernel_log,
        room: Room { processes: args.max_processes, connections: args.max_connections },
    };
    runtime.block_on(agent::run::run(options))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses a directory in which others could put what the agent takes for its own. One that isn't there yet is made by it.
fn own(directory: &Path) -> Result<()> {
    match trust::check(directory) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(untrusted)) => bail!(
            "others than root and the user of the agent may change what is in {}: {untrusted}; {}",
            directory.display(),
            untrusted.remedy()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't look at {}", directory.display())),
    }
}
