//! What the agent may do itself: as little as it needs, so that whoever gets hold of it doesn't get hold of everything.
//!
//! Done before there is a second thread, so that it holds for all of them; and before anything is loaded, as nothing is
//! needed at the start that isn't needed for a new policy as well.

mod capabilities;
mod syscalls;

use anyhow::{Context as _, Result};
use rustix::{
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::set_no_new_privs,
};

pub use capabilities::{KEPT, Kept};

/// What becomes of a system call that the agent has no need for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Seccomp {
    /// It fails with EPERM.
    #[default]
    Refuse,
    /// The agent is killed, and the kernel's log names the call: for tests, which prove that the list is complete.
    Kill,
    /// It is carried out: for who debugs the agent.
    Off,
}

/// Gives away every privilege that the agent has no need for, for good. The one thing it may need more for is `port`, if it
/// is to listen at a privileged one.
///
/// # Errors
/// When there are threads already, a privilege is missing that is needed, or the kernel refuses.
pub fn confine(seccomp: Seccomp, port: u16) -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").context("can't count our own threads")?.count();
    anyhow::ensure!(threads == 1, "there are {threads} threads; privileges must be given away before");
    capabilities::keep(port)?;
    // What it executes (the canary) gets no more than it has, whatever its file says.
    set_no_new_privs(true).context("can't give up getting new privileges (no_new_privs)")?;
    // No core dump with what it knows, and nobody with the same user id reads its memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("can't make the agent not dumpable")?;
    syscalls::confine(seccomp)
}
