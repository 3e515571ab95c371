//! Execs. A file that a program creates with its first system call, and how its process ended, are the oracle.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{agent::Agent, program::Program, wait::deadline};

use super::Outcome;
use crate::stage::Stage;

/// How often each is tried.
const RUNS: u64 = 20;

fn rule(stage: &Stage, name: &str, more: &str, degrade: &str) -> String {
    format!("[[exec]]\nname = \"{name}\"\ndeny = [{}]\n{more}\n{degrade}\n", stage.quoted(name))
}

/// What became of programs that must be stopped.
fn stopped(seen: &Value) -> Outcome {
    let refused = json!({ "started": { "EPERM": RUNS }, "ended": {}, "made": 0 });
    let killed = json!({ "started": { "ok": RUNS }, "ended": { "signal 9": RUNS }, "made": 0 });
    match seen {
        _ if *seen == refused => Outcome::works("refused with EPERM"),
        _ if *seen == killed => Outcome::falls_back("killed before the first instruction"),
        _ => Outcome::fails(seen.to_string()),
    }
}

/// What must be killed can't fall back to anything.
fn dead(seen: &Value) -> Outcome {
    match stopped(seen) {
        Outcome { result: "falls back", detail } => Outcome::works(&detail),
        other => Outcome::fails(other.detail),
    }
}

fn runs(stage: &Stage, by: &str, program: &str) -> Result<()> {
    let seen = stage.spawn(by, program, RUNS, &[])?;
    let ran = json!({ "started": { "ok": RUNS }, "ended": { "code 0": RUNS }, "made": RUNS });
    ensure!(seen == ran, "{program} by {by}, which no rule is against: {seen}");
    Ok(())
}

/// One process makes every kind of event that needs no peer.
pub fn events(stage: &Stage, agent: &Agent<'_>) -> Result<Outcome> {
    let to = stage.database.tcp()[0].to_string();
    let client = Program::new(stage.place.join("client")).arg("connect").with("to", to).with("tag", "events");
    let pid = client.inside(&stage.group)?.finish(deadline(20.0))?.pid;
    let bind = stage.program("stranger")?.arg("bind").with("to", "127.0.0.1:0").finish(deadline(20.0))?.pid;
    for (kind, pid) in [("exec", pid), ("connect", pid), ("exit", pid), ("bind", bind), ("listen", bind)] {
        let is_it = |record: &Value| record["kind"] == kind && record["pid"] == pid;
        agent.records().wait_for(&format!("the event {kind}"), deadline(10.0), is_it)?;
    }
    Ok(Outcome::works("exec, exit, connect, bind, listen"))
}

pub fn deny(stage: &Stage, degrade: &str) -> String {
    rule(stage, "denied", "", degrade)
}

pub fn denied(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    runs(stage, "stranger", "free")?;
    Ok(stopped(&stage.spawn("stranger", "denied", RUNS, &[])?))
}

pub fn kill(stage: &Stage, degrade: &str) -> String {
    rule(stage, "killed", "action = \"kill\"", degrade)
}

pub fn killed(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    Ok(dead(&stage.spawn("stranger", "killed", RUNS, &[])?))
}

pub fn arguments(stage: &Stage, degrade: &str) -> String {
    rule(stage, "argued", "args = { contains = [\"--dump\"] }", degrade)
}

pub fn argued(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    runs(stage, "stranger", "argued")?;
    Ok(dead(&stage.spawn("stranger", "argued", RUNS, &["-x", "--dump"])?))
}

pub fn allow(stage: &Stage, degrade: &str) -> String {
    let listed = stage.quoted("listed");
    format!("[[exec]]\nname = \"list\"\nby = [\"lister\"]\nallow = [{listed}]\n{degrade}\n")
}

pub fn allowed(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    runs(stage, "lister", "listed")?;
    runs(stage, "stranger", "unlisted")?;
    Ok(stopped(&stage.spawn("lister", "unlisted", RUNS, &[])?))
}

pub fn renamed(stage: &Stage, degrade: &str) -> String {
    rule(stage, "renamed", "", degrade)
}

/// The rule is for the file: neither another name nor a link is a way around it.
pub fn renamed_is_denied(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    let (linked, moved) = (stage.place.join("linked"), stage.place.join("elsewhere"));
    fs::hard_link(stage.place.join("renamed"), &linked)?;
    let by_link = stopped(&stage.spawn_at("stranger", &linked, RUNS, &[])?);
    fs::rename(stage.place.join("renamed"), &moved)?;
    let by_name = stopped(&stage.spawn_at("stranger", &moved, RUNS, &[])?);
    Ok(if by_link.result == "fails" { by_link } else { by_name })
}
