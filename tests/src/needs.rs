//! What the scenarios need from outside, and what to do when it is missing.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, ensure};

const REMEDY: &str = "`cargo xtask test` builds what is needed and runs the scenarios, as root";

/// The path of the agent to be tested (`MONITOR_BIN`).
///
/// # Errors
/// When it is not given or this process isn't root.
pub fn monitor() -> Result<PathBuf> {
    from_environment("MONITOR_BIN")
}

/// The path of one of the static programs `probe`, `first` and `exit0` (in `MONITOR_PROBE_DIR`).
///
/// # Errors
/// When the directory is not given or lacks it, or this process isn't root.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = from_environment("MONITOR_PROBE_DIR")?.join(name);
    ensure!(path.is_file(), "there is no program {}: {REMEDY}", path.display());
    Ok(path)
}

fn from_environment(name: &str) -> Result<PathBuf> {
    // SAFETY: takes nothing and can't fail.
    let user = unsafe { libc::geteuid() };
    ensure!(user == 0, "the scenarios need root (this is user {user}): {REMEDY}");
    let path = env::var_os(name).with_context(|| format!("{name} is not set: {REMEDY}"))?;
    let path = PathBuf::from(path);
    path.canonicalize().with_context(|| format!("{name}={}: {REMEDY}", path.display()))
}
