//! What an agent has banned when the next one starts.

use anyhow::Result;
use serde_json::Value;
use tests::{
    agent::{Agent, Mode},
    wait::deadline,
};

use super::{BURST, banned, line::Line, list, setup};
use crate::rate_limit::scene::{FAMILIES, Scene};

fn sorted(mut listed: Vec<Value>) -> Vec<Value> {
    listed.sort_by_key(|ban| ban["address"].to_string());
    listed
}

/// A policy without rate limits looks at no packet and has no table of bans: the next one that has some begins with those on
/// the disk.
#[test]
fn penalties_and_bans_hold_again_when_a_policy_looks_at_packets_again() -> Result<()> {
    let family = FAMILIES[0];
    let scene = Scene::new()?;
    let line = Line::new(&scene, family)?;
    let mut agent = setup(&scene, Mode::Enforce, "for = \"1h\"").start()?;
    line.burst(0, 3 * BURST)?;
    let by_hand = family.address(1, 2).to_string();
    banned(&agent, &["add", &by_hand, "--for", "1h"])?;
    line.check("at first", [false, false])?;
    let applied = |agent: &Agent<'_>, count| {
        let labels = [("outcome", "applied")];
        agent.wait_for_metric("monitor_policy_reloads_total", &labels, count, deadline(30.0))
    };
    let mut rules = String::new();
    agent.reconfigure(|text| {
        let (before, limits) = text.split_once("[[rate_limit]]").unwrap_or((&text, ""));
        rules = format!("[[rate_limit]]{limits}");
        before.to_owned()
    })?;
    applied(&agent, 1.0)?;
    line.check("without rate limits", [true, true])?;
    agent.reconfigure(|text| format!("{text}\n{rules}"))?;
    applied(&agent, 2.0)?;
    line.check("with rate limits again", [false, false])?;
    assert_eq!(list(&agent)?.len(), 2);
    agent.stop()?;
    Ok(())
}

#[test]
fn penalties_and_bans_are_kept_over_a_restart() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let state = scene.place.directory("state")?;
        let start = || setup(&scene, Mode::Enforce, "for = \"1h\"").state(state.clone()).start();
        let line = Line::new(&scene, family)?;
        let agent = start()?;
        line.check("at first", [true, true])?;
        line.burst(0, 3 * BURST)?;
        let by_hand = family.address(1, 2).to_string();
        let done = banned(&agent, &["add", &by_hand, "--for", "1h", "--reason", "scan"])?;
        assert!(done.status.success(), "{}", done.stderr);
        line.check("with the first agent", [false, false])?;
        let before = sorted(list(&agent)?);
        assert_eq!(before.len(), 2, "{before:?}");
        agent.stop()?;
        line.check("between two agents", [true, true])?;
        let agent = start()?;
        line.check("with the second agent", [false, false])?;
        let after = sorted(list(&agent)?);
        for (before, after) in before.iter().zip(&after) {
            for key in ["address", "rule", "reason", "strikes"] {
                assert_eq!(before[key], after[key], "{before} {after}");
            }
        }
        assert_eq!(after.len(), 2, "{after:?}");
        // What was taken out stays out.
        banned(&agent, &["del", "--all"])?;
        line.check("taken out", [true, true])?;
        agent.stop()?;
        let agent = start()?;
        line.check("with the third agent", [true, true])?;
        agent.stop()?;
    }
    Ok(())
}
