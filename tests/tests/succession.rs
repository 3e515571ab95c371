//! Agents that come and go, and policies that follow each other: what is in force stays in force, nobody is forgotten, and
//! what happened meanwhile is told.

mod identity;
mod orders;
mod reload;
mod stale;

use std::{fs, net::SocketAddr, path::PathBuf, time::Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{self, Agent, Gone, Mode, Setup},
    cgroup::Cgroup,
    kernel::Inventory,
    place::Place,
    program::{Program, Running},
    server::Server,
    wait::{deadline, eventually},
};

use crate::rate_limit::scene::{FAMILIES, PORT, Scene as Packets, received};

/// A program and a port that are denied to a cgroup.
struct Scene {
    place: Place,
    group: Cgroup,
    server: Server,
    denied: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let denied = place.copy("first", "denied")?;
        place.directory("work")?;
        let server = Server::start(&place, None, &["127.0.0.1:0"], &[])?;
        Ok(Self { group: Cgroup::new()?, server, denied, place })
    }

    fn address(&self) -> SocketAddr {
        self.server.tcp()[0]
    }

    fn rules(&self) -> String {
        format!(
            "[[database]]\nname = \"orders\"\nports = [{}]\nclients = []\n\n\
             [[exec]]\nname = \"denied\"\ndeny = [{:?}]\n",
            self.address().port(),
            self.denied
        )
    }

    fn setup(&self) -> Setup<'static> {
        Setup::new(Mode::Enforce, &self.group).without_events().rules(&self.rules())
    }

    /// Somebody who tries both, again and again.
    fn persist(&self, tag: &str) -> Result<Running> {
        let persist = Program::probe()?.arg("persist").with("program", &self.denied);
        let persist = persist.with("to", self.address().to_string()).with("tag", tag);
        let mut persist = persist.directory(&self.place.join("work")).inside(&self.group)?.start()?;
        persist.json_line(deadline(10.0))?;
        Ok(persist)
    }

    /// How often it was denied; none may have got through.
    fn denied_only(&self, persist: Running, tag: &str) -> Result<(u64, u64)> {
        let said = persist.finish(deadline(60.0))?.json()?;
        let execs = said["execs"]["outcomes"].as_object().context("no outcomes")?;
        ensure!(execs.keys().all(|key| key == "signal 9" || key == "EPERM"), "an exec got through: {said}");
        assert_eq!(said["execs"]["made"], 0, "a denied program ran: {said}");
        let connects = said["connects"].as_object().context("no outcomes")?;
        ensure!(connects.keys().all(|key| key == "EPERM"), "a connect got through: {said}");
        assert_eq!(self.server.arrived(Some(tag))?, 0, "the server was reached");
        let sum = |of: &serde_json::Map<String, Value>| of.values().filter_map(Value::as_u64).sum();
        Ok((sum(execs), sum(connects)))
    }

    /// Runs the denied program a number of times; nothing may come of it.
    fn deny(&self, count: u64) -> Result<()> {
        let spawn = Program::probe()?.arg("spawn").with("program", &self.denied);
        let spawn = spawn.with("count", count.to_string()).directory(&self.place.join("work"));
        let said = spawn.inside(&self.group)?.json(deadline(60.0))?;
        assert_eq!(said["made"], 0, "{said}");
        Ok(())
    }

    /// Runs the denied program a number of times; it must run.
    fn run_denied(&self, count: u64) -> Result<()> {
        let spawn = Program::probe()?.arg("spawn").with("program", &self.denied);
        let spawn = spawn.with("count", count.to_string()).directory(&self.place.join("work"));
        let said = spawn.inside(&self.group)?.json(deadline(60.0))?;
        assert_eq!(said["made"], count, "{said}");
        Ok(())
    }

    /// Whether the program runs and the server is reached.
    fn passes(&self, tag: &str) -> Result<bool> {
        let persist = self.persist(tag)?;
        let reached = self.server.wait_for(tag, 1, deadline(5.0)).is_ok();
        let said = persist.finish(deadline(30.0))?.json()?;
        Ok(reached && said["execs"]["made"].as_u64() > Some(0))
    }
}

fn again<'a>(agent: Agent<'a>) -> Result<Agent<'a>> {
    agent.kill()?.start()
}

#[test]
fn nothing_gets_through_while_agents_are_killed_and_policies_change() -> Result<()> {
    let scene = Scene::new()?;
    assert!(scene.passes("control")?, "without an agent nothing denies it");
    let packets = Packets::new()?;
    let limit = format!(
        "[[rate_limit]]\nname = \"few\"\nports = [{PORT}]\nprotocol = \"udp\"\npackets = \"10/h\"\nburst = 10\n"
    );
    let setup = Setup::new(Mode::Enforce, &scene.group).without_events();
    let setup = setup.within(&packets.server).interfaces(&["s0"]).rules(&scene.rules()).rules(&limit);
    let mut agent = setup.start()?;
    let tally = packets.tally(FAMILIES[0])?;
    let mut floods = Vec::new();
    let persist = scene.persist("through")?;
    for turn in 0..4 {
        let flood = packets.flood(0, FAMILIES[0], &[("count", 2000.0), ("rate", 1000.0)])?;
        floods.push(flood.start()?);
        agent = again(agent)?;
        // Something else than packets: the next generation, in the same process.
        agent.reconfigure(|text| {
            format!("{text}\n[[exec]]\nname = \"another {turn}\"\ndeny = [\"/nowhere/{turn}\"]\naction = \"alert\"\n")
        })?;
        agent.wait_for_metric(
            "monitor_policy_reloads_total",
            &[("outcome", "applied")],
            1.0,
            deadline(30.0),
        )?;
    }
    let mut sent = 0;
    for flood in floods {
        sent += flood.finish(deadline(60.0))?.json()?["ok"].as_u64().unwrap_or(0);
    }
    let (execs, connects) = scene.denied_only(persist, "through")?;
    let arrived = received(&tally.finish(deadline(30.0))?.json()?, FAMILIES[0], 0, "total")?;
    println!(
        "4 kills, 4 policies: {execs} execs and {connects} connects denied; {arrived} of {sent} packets"
    );
    assert!(execs > 100 && connects > 100, "{execs} and {connects}");
    assert_eq!(arrived, 10.0, "a bucket was given anew, or nobody looked");
    agent.stop()?;
    assert!(scene.passes("after")?, "a stopped agent leaves nothing in force");
    Ok(())
}

#[test]
fn what_happened_without_an_agent_is_counted_and_told_by_the_next() -> Result<()> {
    const BEFORE: u64 = 20;
    const ALONE: u64 = 300;
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    let findings = [("rule", "denied"), ("mode", "enforce")];
    scene.deny(BEFORE)?;
    agent.wait_for_metric("monitor_findings_total", &findings, BEFORE as f64, deadline(10.0))?;
    let gone = agent.kill()?;
    scene.deny(ALONE)?;
    let agent = gone.start()?;
    let all = (BEFORE + ALONE) as f64;
    agent.wait_for_metric("monitor_findings_total", &findings, all, deadline(10.0))?;
    // All of them are told as well, in order: those that the first agent took off the ring and those that it left there.
    eventually("all findings", deadline(10.0), || {
        let told = agent.records().findings("denied")?.len() as u64;
        ensure!(told <= BEFORE + ALONE, "{told} are told, of {} that there were", BEFORE + ALONE);
        Ok((told == BEFORE + ALONE).then_some(()))
    })?;
    let metrics = agent.metrics()?;
    let events = |what: &str| metrics.sum(&format!("monitor_events_{what}_total"), &[("kind", "exec")]);
    let (seen, delivered) = (events("seen"), events("delivered"));
    let (suppressed, lost) = (events("suppressed"), events("lost"));
    assert_eq!(seen, delivered + suppressed + lost, "{delivered} {suppressed} {lost}");
    let stopped = agent.stop()?;
    assert!(stopped.stderr.contains("without an agent"), "{}", stopped.stderr);
    Ok(())
}

#[test]
fn an_agent_that_keeps_leaves_what_is_in_force_and_one_that_does_not_leaves_nothing() -> Result<()> {
    let turn = agent::turn();
    let scene = Scene::new()?;
    let before = Inventory::take()?;
    let agent = scene.setup().keeping().start_beside(Some(turn))?;
    let gone = agent.leave()?;
    let left = Inventory::take()?.since(&before);
    for kind in ["program", "map", "link"] {
        ensure!(left.iter().any(|thing| thing.starts_with(kind)), "no {kind} is left: {left:#?}");
    }
    let persist = scene.persist("kept")?;
    let agent = gone.start()?;
    scene.denied_only(persist, "kept")?;
    let gone = agent.leave()?;
    // What somebody takes away is gone, and that is what taking off is.
    let pins = gone.pins().join("v1");
    let generation =
        fs::read_dir(&pins)?.flatten().find_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let links = pins.join(generation.context("no generation is pinned")?.to_string()).join("links");
    for link in fs::read_dir(links)?.flatten() {
        fs::remove_file(link.path())?;
    }
    assert!(scene.passes("taken off")?);
    let agent = gone.start()?;
    scene.deny(5)?;
    let Gone { .. } = agent.leave()?;
    Ok(())
}

/// Whoever is killed while it begins leaves something half done.
#[test]
fn an_agent_that_is_killed_while_it_begins_is_cleaned_up_after() -> Result<()> {
    let scene = Scene::new()?;
    let gone = scene.setup().start()?.kill()?;
    let begun = Instant::now();
    let mut gone = gone.start()?.kill()?;
    let whole = begun.elapsed();
    let persist = scene.persist("half")?;
    for percent in [20, 40, 50, 60, 70, 80, 90, 95] {
        gone = gone.start_and_kill(whole * percent / 100)?;
    }
    let agent = gone.start()?;
    let (execs, connects) = scene.denied_only(persist, "half")?;
    println!("8 agents killed while they began: {execs} execs and {connects} connects denied");
    let stopped = agent.stop()?;
    assert!(!stopped.stderr.contains("found out anew"), "{}", stopped.stderr);
    assert!(scene.passes("after half")?);
    Ok(())
}

/// A process number comes again: whoever gets that of a dead agent is nobody special.
#[test]
fn the_number_of_a_dead_agent_gives_no_rights() -> Result<()> {
    let scene = Scene::new()?;
    let gone = scene.setup().start()?.kill()?;
    let client = || {
        let way = Program::probe()?.arg("connect").with("to", scene.address().to_string());
        way.with("tag", "number").inside(&scene.group)
    };
    let numbered = (0..1000).find_map(|_| try_number(gone.pid, &client).transpose());
    let said = numbered.context("nobody got the number in 1000 tries")??.finish(deadline(30.0))?.json()?;
    assert_eq!(said, json!({ "EPERM": 1 }));
    gone.start()?.stop()?;
    Ok(())
}

/// Starts a program, which may get this process number: the kernel counts on from what it is told.
fn try_number(pid: u32, program: &impl Fn() -> Result<Program>) -> Result<Option<Running>> {
    let program = program()?;
    fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
    let running = program.start()?;
    if running.pid() == pid {
        return Ok(Some(running));
    }
    running.finish(deadline(30.0))?;
    Ok(None)
}
