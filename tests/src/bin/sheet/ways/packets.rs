//! Packets over a limit. What a server's sockets received is the oracle.

use anyhow::{Context, Result};
use tests::agent::Agent;

use super::Outcome;
use crate::stage::{LIMITED, Stage};

/// How many a source may send at once, and in the time that a test takes.
const BURST: u64 = 10;
const SENT: u64 = 50;

pub fn limits(_: &Stage, _: &str) -> String {
    format!(
        "[[packets.interface]]\nname = \"s1\"\nattach = \"xdp-generic\"\n\n\
         [[rate_limit]]\nname = \"limit\"\nports = [{LIMITED}]\nprotocol = \"udp\"\npackets = \"1/h\"\nburst = {BURST}\n"
    )
}

/// The mode in which the agent says it is attached.
fn mode(agent: &Agent<'_>, interface: &str) -> Result<String> {
    let metrics = agent.metrics()?;
    let series = metrics.series("monitor_attach_info");
    let of =
        series.iter().find(|sample| sample.labels.get("interface").is_some_and(|name| name == interface));
    let mode = of.and_then(|sample| sample.labels.get("mode")).cloned();
    mode.with_context(|| format!("no attach_info of {interface}: {series:?}"))
}

fn limited(stage: &Stage, agent: &Agent<'_>, link: usize, interface: &str, wanted: &str) -> Result<Outcome> {
    let mode = mode(agent, interface)?;
    let arrived = stage.send(link, LIMITED, SENT, interface)?;
    let how = format!("dropped, attached as {mode}");
    Ok(match arrived {
        BURST if mode == wanted => Outcome::works(&how),
        BURST => Outcome::falls_back(&how),
        _ => Outcome::fails(format!("{arrived} of {SENT} arrived, {BURST} may; attached as {mode}")),
    })
}

pub fn native(stage: &Stage, agent: &Agent<'_>) -> Result<Outcome> {
    limited(stage, agent, 0, "s0", "native")
}

pub fn generic(stage: &Stage, agent: &Agent<'_>) -> Result<Outcome> {
    limited(stage, agent, 1, "s1", "generic")
}

pub fn traffic(stage: &Stage, agent: &Agent<'_>) -> Result<Outcome> {
    limited(stage, agent, 2, "lo", "tcx")
}
