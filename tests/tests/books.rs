//! Books that balance: for every kind of event, seen = delivered + suppressed + lost, whatever becomes of the agent meanwhile.

mod denials;
mod floods;
mod halted;

use std::{net::SocketAddr, path::Path};

use anyhow::Result;
use serde_json::json;
use tests::{cgroup::Cgroup, program::Program, wait::deadline};

/// Connects a number of times, one way; each must have this outcome.
fn connect(group: &Cgroup, to: SocketAddr, (way, count): (&str, u64), outcome: &str) -> Result<u32> {
    let client = Program::probe()?.arg("connect").with("to", to.to_string()).with("way", way);
    let client = client.with("count", count.to_string()).inside(group)?.finish(deadline(120.0))?;
    assert_eq!(client.json()?, json!({ outcome: count }), "{way}");
    Ok(client.pid)
}

/// Runs a program a number of times, and tells what became of it.
fn spawn(group: &Cgroup, program: &Path, count: u64) -> Result<serde_json::Value> {
    let spawn = Program::probe()?.arg("spawn").with("program", program);
    spawn.with("count", count.to_string()).inside(group)?.json(deadline(120.0))
}
