//! No process of unknown identity is left, however many are made while the agent starts.

use anyhow::{Context, Result};
use serde_json::json;
use tests::{
    agent::Mode,
    life::Life,
    program::Program,
    wait::{deadline, slowdown},
};

use super::scene::Scene;

const POLICY: &str = "[[workload]]\nname = \"exe\"\nexe = [\"{a}\"]\n";

#[test]
fn nobody_is_unknown_two_seconds_after_readiness() -> Result<()> {
    let scene = Scene::new(&["exe"])?;
    let group = scene.slice.below("storm")?;
    let mut lives = Vec::new();
    for (name, workloads) in [("a", &["exe"][..]), ("b", &[])].repeat(20) {
        lives.push((Life::start(scene.program(&scene.place.join(name), &group)?)?, workloads));
    }
    // Longer than the agent takes to start; ended by the deadline below if need be.
    let count = if slowdown() > 1.0 { 2_000 } else { 60_000 };
    let exit0 = scene.place.copy("exit0", "exit0")?;
    let storm = Program::probe()?.arg("spawn").with("program", exit0).with("threads", "2");
    let mut storm = storm.with("count", count.to_string()).inside(&group)?.start()?;
    let agent = scene.agent(Mode::Enforce, POLICY)?;
    assert!(storm.runs()?, "the storm was over before the agent was ready");
    agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(2.0))?;
    for (life, workloads) in &mut lives {
        assert_eq!(scene.workloads(life)?, *workloads, "older than the agent");
    }
    let storm = storm.finish(deadline(120.0))?.json().context("the storm")?;
    assert_eq!(storm["started"], json!({ "ok": count }));
    agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(2.0))?;
    agent.stop()?;
    Ok(())
}
