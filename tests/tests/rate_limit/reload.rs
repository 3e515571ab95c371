//! A policy that is changed while packets arrive.

use anyhow::Result;
use tests::{
    agent::{Agent, Mode},
    wait::deadline,
};

use super::{
    LIMIT, LONG, PACKETS,
    scene::{FAMILIES, Scene, WINDOW, received},
};

const RELOADS: &str = "monitor_policy_reloads_total";
/// In front of the rule at hand, so that its place among all changes with each turn.
const BEFORE: &str = "[[rate_limit]]\nname = \"other\"\nports = [7001]\nper = \"rule\"\npackets = \"5/s\"\n";

fn add(text: &str) -> String {
    // A burst that is one smaller: what a source has left must be taken over, not given anew.
    text.replace("[[rate_limit]]", &format!("{BEFORE}[[rate_limit]]")).replace("burst = 1000", "burst = 999")
}

fn take_away(text: &str) -> String {
    text.replace(BEFORE, "").replace("burst = 999", "burst = 1000")
}

fn wait(agent: &Agent<'_>, outcome: &str, count: usize) -> Result<()> {
    agent.wait_for_metric(RELOADS, &[("outcome", outcome)], count as f64, deadline(20.0))
}

/// A bucket that was given anew at each change would let 1000 more packets through, a moment without limits thousands.
#[test]
fn a_changed_limit_neither_resets_buckets_nor_leaves_a_moment_without() -> Result<()> {
    const CHANGES: usize = 20;
    for family in FAMILIES {
        let scene = Scene::new()?;
        let mut agent = scene.agent(Mode::Enforce, &["s0", "s1"], PACKETS)?;
        let tally = scene.tally(family)?;
        let flood = scene.flood(0, family, &LONG)?.start()?;
        for change in 1..=CHANGES {
            agent.reconfigure(|text| if change % 2 == 1 { add(&text) } else { take_away(&text) })?;
            wait(&agent, "applied", change)?;
        }
        let sent = flood.finish(deadline(WINDOW + 30.0))?.json()?;
        let arrived = received(&tally.finish(deadline(30.0))?.json()?, family, 0, "in_window")?;
        let due = LIMIT * WINDOW + LIMIT;
        println!("{family:?}: {CHANGES} changes, {sent} sent, {arrived} of {due} arrived");
        assert!((arrived / due - 1.0).abs() <= 0.05, "{arrived} of {due} arrived");
        // What was counted under a name stays there, whatever place the rule had.
        let counted = agent.metrics()?;
        let of = |rule| counted.sum("monitor_packets_total", &[("rule", rule)]);
        assert_eq!(of("other"), 0.0);
        assert!(of("flood") >= arrived, "{} counted", of("flood"));
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_put_in_force_leaves_the_old_policy_as_it_is() -> Result<()> {
    let scene = Scene::new()?;
    let mut agent = scene.agent(Mode::Enforce, &["s0"], PACKETS)?;
    agent.reconfigure(|text| format!("{text}\n# a remark\n"))?;
    wait(&agent, "unchanged", 1)?;
    agent.reconfigure(|text| text.replace("packets =", "packtes ="))?;
    wait(&agent, "invalid", 1)?;
    agent.reconfigure(|text| {
        let text = text.replace("packtes =", "packets =").replace("1000/s", "1/s");
        text.replace("[[sink]]", "[[sink]]\ntype = \"stdout\"\n\n[[sink]]")
    })?;
    wait(&agent, "needs_restart", 1)?;
    let sent = scene.flood(0, FAMILIES[0], &[("count", 900.0), ("rate", 3000.0)])?;
    let tally = scene.tally(FAMILIES[0])?;
    sent.start()?.finish(deadline(30.0))?;
    let arrived = received(&tally.finish(deadline(30.0))?.json()?, FAMILIES[0], 0, "total")?;
    assert_eq!(arrived, 900.0, "a burst of 1000 is what the first policy says");
    let stopped = agent.stop()?;
    assert!(stopped.stderr.contains("packtes"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("[[sink]]"), "{}", stopped.stderr);
    Ok(())
}
