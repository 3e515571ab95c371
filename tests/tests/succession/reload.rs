//! A policy that is changed as a whole while the agent runs.

use anyhow::Result;
use tests::{
    agent::{Agent, Mode},
    wait::deadline,
};

use super::Scene;
use crate::rate_limit::scene::{FAMILIES, Scene as Packets, received};

fn wait(agent: &Agent<'_>, outcome: &str, count: usize) -> Result<()> {
    let labels = [("outcome", outcome)];
    agent.wait_for_metric("monitor_policy_reloads_total", &labels, count as f64, deadline(30.0))
}

/// A rule that says nothing of the one at hand, of another name each time.
fn other(number: usize) -> String {
    format!("\n[[exec]]\nname = \"other {number}\"\ndeny = [\"/nowhere\"]\naction = \"alert\"\n")
}

#[test]
fn what_a_policy_denies_is_denied_from_one_moment_on_and_then_no_more() -> Result<()> {
    let scene = Scene::new()?;
    let mut agent = scene.setup().start()?;
    let whole = scene.rules();
    let persist = scene.persist("denied")?;
    scene.denied_only(persist, "denied")?;
    agent.reconfigure(|text| text.replace(&whole, ""))?;
    wait(&agent, "applied", 1)?;
    assert!(scene.passes("free")?, "the old policy is still in force");
    agent.reconfigure(|text| format!("{text}\n{whole}"))?;
    wait(&agent, "applied", 2)?;
    let persist = scene.persist("again")?;
    scene.denied_only(persist, "again")?;
    agent.stop()?;
    Ok(())
}

#[test]
fn counters_of_rules_go_on_by_name_and_never_go_down() -> Result<()> {
    const EACH: u64 = 25;
    let scene = Scene::new()?;
    let mut agent = scene.setup().start()?;
    let findings = [("rule", "denied"), ("mode", "enforce")];
    for turn in 1..=4 {
        scene.deny(EACH)?;
        let due = EACH * turn as u64;
        agent.wait_for_metric("monitor_findings_total", &findings, due as f64, deadline(10.0))?;
        // In front: the index of the rule is another.
        agent.reconfigure(|text| text.replacen("[[exec]]", &format!("{}[[exec]]", other(turn)), 1))?;
        wait(&agent, "applied", turn)?;
        assert_eq!(agent.metrics()?.sum("monitor_findings_total", &findings), due as f64);
    }
    let findings = agent.records().findings("denied")?;
    assert_eq!(findings.len() as u64, 4 * EACH);
    agent.stop()?;
    Ok(())
}

#[test]
fn a_policy_that_cannot_be_put_in_force_leaves_the_old_one_as_it_is() -> Result<()> {
    let scene = Scene::new()?;
    let mut agent = scene.setup().start()?;
    let persist = scene.persist("whole")?;
    agent.reconfigure(|text| text.replace("[[exec]]", "[[exec]]\nnonsense = 1"))?;
    wait(&agent, "invalid", 1)?;
    // Well-formed, but for nobody on this host: found out when it is compiled.
    agent.reconfigure(|text| text.replace("nonsense = 1", "user = [\"nobody-of-this-name\"]"))?;
    wait(&agent, "invalid", 2)?;
    // An interface that isn't there.
    agent.reconfigure(|text| {
        let text = text
            .replace("user = [\"nobody-of-this-name\"]", "")
            .replace("interfaces = []", "interfaces = [\"nosuch0\"]");
        format!("{text}\n[[rate_limit]]\nname = \"r\"\nports = [1]\npackets = \"1/s\"\n")
    })?;
    wait(&agent, "invalid", 3)?;
    scene.denied_only(persist, "whole")?;
    let stopped = agent.stop()?;
    for word in ["nonsense", "nobody-of-this-name", "nosuch0"] {
        assert!(stopped.stderr.contains(word), "{word} isn't said: {}", stopped.stderr);
    }
    Ok(())
}

/// The next generation takes over one interface and is refused another: it goes, and the one before has both back.
#[test]
fn an_interface_that_was_taken_over_is_given_back() -> Result<()> {
    let packets = Packets::new()?;
    let few = "protocol = \"udp\"\npackets = \"10/h\"\nburst = 10";
    let mut agent = packets.agent(Mode::Enforce, &["s0"], few)?;
    let attached = packets.server.xdp("s0")?;
    let tally = packets.tally(FAMILIES[0])?;
    let flood = |count: f64| packets.flood(0, FAMILIES[0], &[("count", count), ("rate", 1000.0)]);
    flood(4.0)?.start()?.finish(deadline(30.0))?;
    agent.reconfigure(|text| {
        // No driver of the loopback interface takes a program, and `xdp` asks for that.
        let text = text.replace("[\"s0\"]", "[\"s0\", \"lo\"]").replace("burst = 10", "burst = 1000");
        format!("{text}\n[packets]\nattach = \"xdp\"\n")
    })?;
    wait(&agent, "failed", 1)?;
    flood(200.0)?.start()?.finish(deadline(30.0))?;
    assert_eq!(packets.server.xdp("s0")?.is_some(), attached.is_some());
    let arrived = received(&tally.finish(deadline(30.0))?.json()?, FAMILIES[0], 0, "total")?;
    assert_eq!(arrived, 10.0, "the limit of the first policy, with what was left of it");
    agent.stop()?;
    assert_eq!(packets.server.xdp("s0")?, None);
    Ok(())
}
