//! What rules report travels on rings of its own: a flood of something else doesn't crowd it out.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    server::Server,
    wait::{deadline, eventually, slowdown},
};

use super::{connect, spawn};

/// Findings of each rule that must all arrive.
const DENIALS: u64 = 500;

/// A program and a port that are denied, and a port that isn't.
struct Scene {
    _place: Place,
    group: Cgroup,
    program: PathBuf,
    _server: Server,
    denied: SocketAddr,
    open: SocketAddr,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let program = place.copy("exit0", "denied")?;
        let server = Server::start(&place, None, &["127.0.0.1:0"], &["127.0.0.1:0"])?;
        let (denied, open) = (server.tcp()[0], server.udp()[0]);
        Ok(Self { group: Cgroup::new()?, program, denied, open, _server: server, _place: place })
    }

    fn agent(&self, mode: Mode) -> Result<Agent<'static>> {
        let rules = format!(
            "[[database]]\nname = \"orders\"\nports = [{}]\nclients = []\n\n\
             [[exec]]\nname = \"program\"\ndeny = [{:?}]\n",
            self.denied.port(),
            self.program
        );
        // An emulated machine takes long to fill a large one.
        let ring = if slowdown() > 1.0 { "256KiB" } else { "8MiB" };
        let settings = format!("ring = {ring:?}\nevents_per_cgroup = \"off\"");
        Setup::new(mode, &self.group).agent(&settings).rules(&rules).start()
    }

    /// Denied connects, all with this outcome; who asked.
    fn connects(&self, count: u64, outcome: &str) -> Result<u32> {
        connect(&self.group, self.denied, ("tcp", count), outcome)
    }

    /// Denied execs. None ends well where they are denied, all do where they aren't.
    fn execs(&self, count: u64, denied: bool) -> Result<()> {
        let said = spawn(&self.group, &self.program, count)?;
        let well = said["ended"]["code 0"].as_u64().unwrap_or(0);
        assert_eq!(well, if denied { 0 } else { count }, "{said}");
        Ok(())
    }
}

fn lost(agent: &Agent<'_>, kind: &str, reason: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("monitor_events_lost_total", &[("kind", kind), ("reason", reason)]))
}

/// Waits until there are this many findings of a rule.
fn all_arrive(agent: &Agent<'_>, rule: &str, count: u64) -> Result<Vec<Value>> {
    let mut last = 0;
    let arrived = eventually(&format!("{count} findings of {rule}"), deadline(30.0), || {
        let found = agent.records().findings(rule)?;
        last = found.len() as u64;
        Ok((last >= count).then_some(found))
    });
    arrived.map_err(|error| error.context(format!("{last} arrived")))
}

#[test]
fn ordinary_events_crowd_no_finding_out() -> Result<()> {
    let scene = Scene::new()?;
    scene.connects(10, "ok")?;
    scene.execs(10, false)?;
    for mode in Mode::BOTH {
        let mut agent = scene.agent(mode)?;
        let enforced = mode == Mode::Enforce;
        agent.stands_still()?;
        // More than the ring has room for: a bind and a connect each.
        let flood = if slowdown() > 1.0 { 3_000 } else { 60_000 };
        connect(&scene.group, scene.open, ("udp", flood), "ok")?;
        let client = scene.connects(DENIALS, if enforced { "EPERM" } else { "ok" })?;
        scene.execs(DENIALS, enforced)?;
        agent.goes_on()?;
        let connects = all_arrive(&agent, "orders", DENIALS)?;
        let execs = all_arrive(&agent, "program", DENIALS)?;
        let books = agent.balanced(deadline(30.0))?;
        assert!(lost(&agent, "connect", "ring_full")? > 0.0, "the ring was never full: {books:?}");
        for kind in ["connect", "exec"] {
            assert_eq!(lost(&agent, kind, "findings_ring_full")?, 0.0, "{kind}");
        }
        assert_eq!(agent.metrics()?.sum("monitor_sink_lost_total", &[]), 0.0);
        assert_eq!((connects.len() as u64, execs.len() as u64), (DENIALS, DENIALS), "each once");
        assert!(connects.iter().all(|finding| finding["pid"] == client), "by who asked");
        let path = json!(scene.program);
        assert!(execs.iter().all(|finding| finding["object"] == path), "{:?}", execs.first());
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn findings_of_one_kind_crowd_none_of_another_out() -> Result<()> {
    let scene = Scene::new()?;
    let mut agent = scene.agent(Mode::Enforce)?;
    agent.stands_still()?;
    let flood = 20_000;
    scene.connects(flood, "EPERM")?;
    scene.execs(DENIALS, true)?;
    agent.goes_on()?;
    all_arrive(&agent, "program", DENIALS)?;
    let books = agent.balanced(deadline(30.0))?;
    let lost = lost(&agent, "connect", "findings_ring_full")?;
    assert!(lost > 0.0 && lost < flood as f64, "{books:?}");
    // Decisions are counted, told or not.
    let counted = agent.metrics()?.sum("monitor_findings_total", &[("rule", "orders")]);
    assert_eq!((counted, books["connect"].made()), (flood as f64, flood as f64));
    let told = all_arrive(&agent, "orders", flood - lost as u64)?;
    assert_eq!(told.len() as f64, flood as f64 - lost);
    agent.stop()?;
    Ok(())
}
