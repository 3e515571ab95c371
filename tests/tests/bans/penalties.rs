//! Penalties: who is over a limit often is dropped for a while, longer each time.

use std::time::Instant;

use anyhow::Result;
use tests::{
    agent::Mode,
    wait::{deadline, slowdown},
};

use super::{BURST, banned, line::Line, list, setup};
use crate::rate_limit::scene::{FAMILIES, Scene};

/// Packets over the limit until a penalty comes.
const AFTER: u64 = 100;

/// Seconds for which nothing of client 0 arrives after a burst that brings a penalty about: at least and at most.
fn gap(line: &Line) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let arrived = line.burst(0, 2 * BURST + 4 * AFTER)?;
    // What was in the bucket, and what came in until the penalty.
    assert!((1..2 * BURST).contains(&arrived), "{arrived} arrived");
    let sent = Instant::now();
    let heard = line.until_heard(0, deadline(30.0))?;
    Ok(((heard - sent).as_secs_f64(), (heard - begun).as_secs_f64()))
}

/// By how much the kernel's clock for packets may be behind: it goes in steps (`CONFIG_HZ`, 100 a second at the least).
const STEP: f64 = 0.01;

/// The last packet of the burst may be as late as the silence after it.
fn check(seen: (f64, f64), due: f64) {
    println!("{due} s are due, {:.3} to {:.3} s seen", seen.0, seen.1);
    assert!(seen.1 >= due - STEP, "{} s of {due}", seen.1);
    assert!(seen.0 <= due + 0.3 * slowdown(), "{} s of {due}", seen.0);
}

#[test]
fn a_penalty_comes_after_so_many_packets_over_and_ends() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let agent = setup(&scene, Mode::Enforce, &format!("for = \"2s\", after = {AFTER}")).start()?;
        let line = Line::new(&scene, family)?;
        line.check("before", [true, true])?;
        // Over the limit, but not often enough.
        let arrived = line.burst(0, BURST + AFTER - 10)?;
        assert!((BURST - 10..BURST + AFTER - 10).contains(&arrived), "{arrived} arrived");
        line.check("over the limit without a penalty", [true, true])?;
        assert!(list(&agent)?.is_empty(), "a penalty already");
        check(gap(&line)?, 2.0);
        line.check("after the penalty", [true, true])?;
        let finding = agent.records().wait_for("the finding of the penalty", deadline(10.0), |record| {
            record["type"] == "finding" && !record["penalty_seconds"].is_null()
        })?;
        assert!(finding["dropped"].as_u64() >= Some(AFTER), "it took {AFTER}: {finding}");
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn each_penalty_is_longer_up_to_the_longest() -> Result<()> {
    let penalty = format!("for = \"1s\", factor = 3, max = \"4s\", after = {AFTER}");
    for family in FAMILIES {
        let scene = Scene::new()?;
        let agent = setup(&scene, Mode::Enforce, &penalty).start()?;
        let line = Line::new(&scene, family)?;
        line.check("before", [true, true])?;
        for due in [1.0, 3.0, 4.0, 4.0] {
            check(gap(&line)?, due);
        }
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_penalty_is_listed_and_ends_when_it_is_taken_out() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let agent = setup(&scene, Mode::Enforce, "for = \"1h\"").start()?;
        let line = Line::new(&scene, family)?;
        let source = family.address(0, 2).to_string();
        for del in [["del", &source].as_slice(), &["del", "--rule", "flood"], &["del", "--all"]] {
            line.check("before", [true, true])?;
            line.burst(0, 3 * BURST)?;
            line.check("penalised", [false, true])?;
            let listed = list(&agent)?;
            assert_eq!(listed.len(), 1, "{listed:?}");
            assert_eq!((&listed[0]["rule"], &listed[0]["strikes"]), (&"flood".into(), &1.into()));
            let done = banned(&agent, del)?;
            assert_eq!(done.stdout, ["0 bans and 1 penalty taken out"], "{}", done.stderr);
            line.check("taken out", [true, true])?;
            assert!(list(&agent)?.is_empty());
        }
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn in_observe_mode_penalties_are_only_counted() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let agent = setup(&scene, Mode::Observe, &format!("for = \"1h\", after = {AFTER}")).start()?;
        let line = Line::new(&scene, family)?;
        line.check("before", [true, true])?;
        let sent = 3 * BURST;
        assert_eq!(line.burst(0, sent)?, sent);
        line.check("after a penalty that isn't carried out", [true, true])?;
        let metrics = agent.metrics()?;
        let over = |cause| metrics.sum("monitor_packets_over_total", &[("rule", "flood"), ("cause", cause)]);
        let (limit, penalty) = (over("packets"), over("penalty"));
        println!("{family:?}: of {sent} {limit} over the limit, {penalty} in a penalty, all arrived");
        assert_eq!(limit, AFTER as f64);
        // The five at the end, too.
        assert!(penalty >= 5.0, "{penalty} in a penalty");
        let would = [("rule", "flood"), ("verdict", "drop"), ("mode", "observe")];
        assert_eq!(metrics.sum("monitor_packets_total", &would), limit + penalty);
        agent.stop()?;
    }
    Ok(())
}
