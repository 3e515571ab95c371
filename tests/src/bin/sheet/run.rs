//! Starts agents with the rules of all ways, or of one, and tries them.

use anyhow::{Context, Result};
use tests::{
    agent::{Agent, Stopped},
    kernel::Inventory,
    wait::deadline,
};

use crate::{
    row,
    stage::Stage,
    timed,
    ways::{Outcome, WAYS, Way},
};

/// Tries every way with one agent, if there can be one that has them all. Ways that this kernel refuses are left out, first
/// those that the agent names; where it names none, each way gets an agent of its own.
pub fn all() -> Result<()> {
    let stage = Stage::new()?;
    let mut wanted: Vec<&Way> = WAYS.iter().collect();
    let mut refused: Vec<(&Way, String)> = Vec::new();
    loop {
        let why = match timed("start of an agent with all rules", || start(&stage, &wanted, ""))? {
            Ok(agent) => {
                wanted.iter().for_each(|way| try_one(&stage, &agent, way));
                end(agent)?;
                break;
            }
            Err(why) => why,
        };
        let named: Vec<&Way> = wanted.iter().copied().filter(|way| is_named(&stage, way, &why)).collect();
        if named.is_empty() {
            println!("not all at once: {why}");
            refused.extend(one_by_one(&stage, &wanted)?);
            break;
        }
        wanted.retain(|way| !named.iter().any(|named| named.name == way.name));
        refused.extend(named.into_iter().map(|way| (way, why.clone())));
    }
    degraded(&stage, refused)
}

/// Whether a refusal is for the rule of a way, by the name that it has in the file.
fn is_named(stage: &Stage, way: &Way, why: &str) -> bool {
    let rules = (way.rules)(stage, "");
    let names = rules.lines().filter_map(|line| {
        let table = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        line.strip_prefix("name = ").or(table.filter(|table| !table.starts_with('[')))
    });
    names.map(|name| format!("rule \"{}\"", name.trim_matches('"'))).any(|name| why.contains(&name))
}

/// An agent for each way; those that can't have one, and why.
fn one_by_one<'a>(stage: &Stage, ways: &[&'a Way]) -> Result<Vec<(&'a Way, String)>> {
    let mut refused = Vec::new();
    for way in ways {
        match start(stage, &[way], "")? {
            Ok(agent) => {
                try_one(stage, &agent, way);
                end(agent)?;
            }
            Err(why) => refused.push((*way, why)),
        }
    }
    Ok(refused)
}

/// What is refused may say `degrade = "observe"`: then the agent must start, and reports.
fn degraded(stage: &Stage, refused: Vec<(&Way, String)>) -> Result<()> {
    let ways: Vec<&Way> = refused.iter().map(|(way, _)| *way).filter(|way| way.degrades).collect();
    let agent = if ways.is_empty() { None } else { start(stage, &ways, "degrade = \"observe\"")?.ok() };
    for (way, why) in refused {
        let with = match &agent {
            Some(agent) if way.degrades => match (way.drive)(stage, agent)? {
                Outcome { result: "works", detail } => format!("with degrade: {detail}"),
                _ => "with degrade: reported only".to_owned(),
            },
            _ => "degrade doesn't help".to_owned(),
        };
        row("way", way.name, "refused", &format!("{why}; {with}"));
    }
    agent.map_or(Ok(()), end)
}

/// The agent, or the reason that it gave.
fn start<'a>(stage: &'a Stage, ways: &[&Way], degrade: &str) -> Result<Result<Agent<'a>, String>> {
    let mut rules: Vec<String> = Vec::new();
    for way in ways {
        let text = (way.rules)(stage, degrade);
        if !rules.contains(&text) {
            rules.push(text);
        }
    }
    match stage.setup(&rules.join("\n")).start_beside(None) {
        Ok(agent) => Ok(Ok(agent)),
        Err(error) => {
            let text = format!("{error:?}");
            let mut lines = text.lines().map(str::trim);
            let said = lines.find_map(|line| {
                let (_, said) = line.split_once("monitor: ").or_else(|| line.split_once("error: "))?;
                Some(said.to_owned())
            });
            // What helps is said last, after the words of the verifier.
            let remedy = lines.find(|line| line.contains(": boot "));
            let said = said.map(|said| remedy.map(|remedy| format!("{said}; {remedy}")).unwrap_or(said));
            said.map(Err).with_context(|| format!("an agent ended without a reason: {text}"))
        }
    }
}

fn try_one(stage: &Stage, agent: &Agent<'_>, way: &Way) {
    let outcome = timed(way.name, || (way.drive)(stage, agent));
    let Outcome { result, detail } =
        outcome.unwrap_or_else(|error| Outcome { result: "fails", detail: format!("{error:#}") });
    row("way", way.name, result, &detail);
}

/// Stops an agent; what it leaves behind is worth a row.
fn end(agent: Agent<'_>) -> Result<()> {
    let held = Inventory::of(agent.pid())?;
    let stopped: Stopped = agent.stop()?;
    drop(stopped);
    if let Err(error) = held.wait_until_gone(deadline(20.0)) {
        row("way", "stop", "fails", &format!("{error:#}"));
    }
    Ok(())
}
