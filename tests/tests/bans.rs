//! Penalties and bans by hand: what a socket in the server's namespace receives is the oracle.

mod hand;
mod line;
mod many;
mod penalties;
mod restart;

use std::ffi::OsStr;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup},
    program::{Finished, Program},
    wait::deadline,
};

use crate::rate_limit::scene::Scene;

/// Packets that a source may send at once, half of a second's worth.
const BURST: u64 = 250;

/// An agent whose rule gives penalties: how long they are, and after how many packets over the limit.
fn setup<'a>(scene: &'a Scene, mode: Mode, penalty: &str) -> Setup<'a> {
    let limit =
        format!("protocol = \"udp\"\npackets = \"500/s\"\nburst = {BURST}\npenalty = {{ {penalty} }}");
    scene.setup("auto", mode, &["s0", "s1"], &limit)
}

/// `monitor ban`, not started.
fn ban(agent: &Agent<'_>, arguments: &[impl AsRef<OsStr>]) -> Result<Program> {
    let ban = Program::monitor()?.arg("ban").arg("--run-dir").arg(agent.run_directory());
    Ok(ban.args(arguments))
}

/// Runs it to its end.
fn banned(agent: &Agent<'_>, arguments: &[impl AsRef<OsStr>]) -> Result<Finished> {
    ban(agent, arguments)?.finish(deadline(60.0))
}

/// What it lists.
fn list(agent: &Agent<'_>) -> Result<Vec<Value>> {
    let listed = ban(agent, &["list", "--json"])?.json(deadline(60.0))?;
    listed.as_array().cloned().context("no array")
}
