//! `monitor apply`, `confirm`, `rollback`, `mode`, `reload` and `stop`: another policy for a running agent, and its end.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    agent::{lock::Lock, run::forget_generations},
    commands::ban::duration,
    config::Config,
    control::{
        Request,
        client::Client,
        policy::{Change, Changed, Stop},
    },
    kernel::pins::{InUse, Pins},
};

/// How long an agent may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which agent is asked.
#[derive(Debug, clap::Args)]
pub struct Where {
    /// Run directory of the agent that is asked.
    #[arg(long, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
}

/// Arguments of `monitor apply`.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// Configuration file to put in force, with the `policy.d` beside it. The agent goes back to its own files when it is
    /// restarted or told to reload.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Go back to the policy in force now unless `monitor confirm` comes within this time (`30s`, `2m`, `1h`): also if the
    /// agent dies, or you are locked out.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub confirm_within: Option<u64>,
    /// Which agent.
    #[command(flatten)]
    pub which: Where,
}

/// Arguments of `monitor mode`.
#[derive(Debug, clap::Args)]
pub struct SetMode {
    /// `observe` reports what would have been refused, `enforce` refuses it.
    #[arg(value_name = "MODE", value_parser = ["observe", "enforce"])]
    pub mode: String,
    /// Name of the rule; every rule without.
    #[arg(value_name = "RULE")]
    pub rule: Option<String>,
    /// Which agent.
    #[command(flatten)]
    pub which: Where,
}

/// Arguments of `monitor stop`.
#[derive(Debug, clap::Args)]
pub struct End {
    /// Leave what is in force in force, without an agent: the next one takes over from it.
    #[arg(long)]
    pub keep: bool,
    /// Directory where the agent pins what outlives it.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/monitor")]
    pub pin_dir: PathBuf,
    /// Which agent.
    #[command(flatten)]
    pub which: Where,
}

/// Puts a file in force.
///
/// # Errors
/// What is wrong with the file, or what the agent says; then the old policy is still in force.
pub fn apply(args: &Apply) -> Result<ExitCode> {
    let path = std::path::absolute(&args.file).context("can't tell the absolute path of the file")?;
    // With all errors and their places, before the agent is asked.
    Config::load(Some(&path))?;
    ask(&args.which, Change::Apply { path, confirm_within: args.confirm_within })
}

/// Changes the mode.
///
/// # Errors
/// What the agent says.
pub fn mode(args: &SetMode) -> Result<ExitCode> {
    let code = ask(&args.which, Change::Mode { enforce: args.mode == "enforce", rule: args.rule.clone() })?;
    eprintln!("this holds until the agent is restarted or reloads; write it into the file to keep it");
    Ok(code)
}

/// Keeps what is on trial.
///
/// # Errors
/// What the agent says.
pub fn confirm(which: &Where) -> Result<ExitCode> {
    ask(which, Change::Confirm)
}

/// Goes back to the policy before.
///
/// # Errors
/// What the agent says.
pub fn roll_back(which: &Where) -> Result<ExitCode> {
    ask(which, Change::RollBack)
}

/// Has the agent read its files.
///
/// # Errors
/// What is wrong with them, or what the agent says.
pub fn reload(which: &Where) -> Result<ExitCode> {
    ask(which, Change::Reload)
}

fn ask(which: &Where, change: Change) -> Result<ExitCode> {
    let mut client = Client::connect(&which.run_dir)?;
    let changed: Changed = client.ask(&Request::Policy(change), |()| Ok(()))?;
    println!("{}", changed.outcome);
    Ok(ExitCode::SUCCESS)
}

/// Ends the agent; without one, takes off what one has left.
///
/// # Errors
/// When it doesn't end, or somebody else's agent is in the way.
pub fn stop(args: &End) -> Result<ExitCode> {
    let run_dir = &args.which.run_dir;
    let ran = match Client::connect(run_dir) {
        Ok(mut client) => {
            let stop = Request::Stop(Stop { keep: args.keep });
            let _: Changed = client.ask(&stop, |()| Ok(()))?;
            true
        }
        Err(error) if Lock::take(run_dir).is_err() => return Err(error),
        Err(_) => false,
    };
    let _lock = wait_for_lock(run_dir)?;
    match (ran, args.keep) {
        (true, true) => println!("the agent has ended; what was in force still is"),
        (true, false) => println!("the agent has ended; nothing is in force any more"),
        (false, true) => println!("no agent runs; what one has left in force, if any, still is"),
        (false, false) => println!("no agent runs; {}", take_off(&args.pin_dir, run_dir)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes off what an agent has left; says what that was.
fn take_off(pin_dir: &Path, run_dir: &Path) -> Result<&'static str> {
    if !pin_dir.exists() {
        return Ok("and none has left anything in force");
    }
    let pins = match Pins::open(pin_dir) {
        Ok(pins) => pins,
        Err(error) if error.is::<InUse>() => return Err(error),
        Err(error) => return Err(error.context("can't look for what an agent has left")),
    };
    let left = !pins.generations().is_empty();
    pins.remove_all();
    forget_generations(run_dir);
    Ok(if left { "what one had left in force is taken off" } else { "and none has left anything in force" })
}

fn wait_for_lock(run_dir: &Path) -> Result<Lock> {
    let begun = Instant::now();
    loop {
        match Lock::take(run_dir) {
            Ok(lock) => return Ok(lock),
            Err(error) if begun.elapsed() > PATIENCE => {
                bail!("the agent doesn't end: {error:#}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
