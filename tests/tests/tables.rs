//! Tables of the kernel that are full: counted, and whoever is not in them has no rights by them.

use std::path::PathBuf;

use anyhow::Result;
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    server::Server,
    wait::{deadline, eventually},
};

/// A server, and who may be its client.
struct Scene {
    place: Place,
    group: Cgroup,
    server: Server,
    allowed: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let server = Server::run(Program::probe()?, &place, &["127.0.0.1:0"], &[], &[("patience", "120")])?;
        let allowed = place.copy("probe", "allowed")?;
        Ok(Self { group: Cgroup::new()?, server, allowed, place })
    }

    fn setup(&self, more: &str) -> Setup<'static> {
        let rules = format!(
            "[[workload]]\nname = \"api\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nports = {:?}\nclients = [\"api\"]\n\n{more}",
            self.allowed,
            self.server.ports()
        );
        Setup::new(Mode::Enforce, &self.group).rules(&rules)
    }

    /// How one connect of a new process ends.
    fn connect(&self) -> Result<String> {
        let connect = Program::new(&self.allowed).arg("connect").with("way", "tcp");
        let connect = connect.with("to", self.server.tcp()[0].to_string()).inside(&self.group)?;
        let outcomes = connect.json(deadline(20.0))?;
        let word = outcomes.as_object().and_then(|outcomes| outcomes.keys().next()).cloned();
        Ok(word.unwrap_or_default())
    }

    /// Somebody with so many connections.
    fn stay(&self, count: usize) -> Result<Running> {
        let to = vec![self.server.tcp()[0].to_string(); count];
        let stay = Program::new(&self.allowed).arg("stay").with("to", to.join(","));
        let mut stay = stay.inside(&self.group)?.start()?;
        stay.json_line(deadline(10.0))?;
        Ok(stay)
    }
}

fn processes() -> Result<usize> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    Ok(entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count())
}

#[test]
fn who_has_no_place_in_the_table_of_processes_is_nobody() -> Result<()> {
    /// Far more than others on this machine start and end meanwhile.
    const CROWD: usize = 300;
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let work = scene.place.directory("work")?;
    let denied = format!("[[exec]]\nname = \"everybody's\"\ndeny = [{first:?}]\naction = \"kill\"\n");
    assert_eq!(scene.connect()?, "ok", "without an agent");
    let most = processes()? + CROWD / 2;
    let crowd: Vec<Running> = (0..CROWD)
        .map(|_| {
            let mut hold = Program::probe()?.arg("hold").inside(&scene.group)?.start()?;
            hold.json_line(deadline(10.0))?;
            Ok(hold)
        })
        .collect::<Result<_>>()?;
    let agent = scene.setup(&denied).argument("--max-processes").argument(&most.to_string()).start()?;
    eventually("processes without a place", deadline(15.0), || {
        let metrics = agent.metrics()?;
        Ok((metrics.sum("monitor_processes_unknown", &[]) > 0.0).then_some(()))
    })?;
    assert_eq!(scene.connect()?, "EPERM", "a client without a place");
    let run = Program::new(&scene.allowed).arg("spawn").with("program", &first).directory(&work);
    let outcome = run.inside(&scene.group)?.json(deadline(20.0))?;
    assert_eq!(outcome["made"], 0, "what nobody may execute: {outcome}");
    let metrics = agent.metrics()?;
    for name in ["monitor_process_table_full_total", "monitor_unknown_process_decisions_total"] {
        assert!(metrics.sum(name, &[]) > 0.0, "{name}");
    }
    drop(crowd);
    agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(30.0))?;
    assert_eq!(scene.connect()?, "ok", "when there is room again");
    agent.stop()?;
    Ok(())
}

#[test]
fn connections_without_a_place_are_counted_and_those_open_now_stay_true() -> Result<()> {
    const PLACES: usize = 8;
    const OPEN: &str = "monitor_database_open_connections";
    const FULL: &str = "monitor_connection_table_full_total";
    let scene = Scene::new()?;
    let agent = scene.setup("").argument("--max-connections").argument(&PLACES.to_string()).start()?;
    let labels = [("database", "orders"), ("direction", "client")];
    for round in 1..=3 {
        let many = scene.stay(20)?;
        agent.wait_for_metric(OPEN, &labels, PLACES as f64, deadline(10.0))?;
        agent.wait_for_metric(FULL, &[], f64::from(round) * 12.0, deadline(10.0))?;
        drop(many);
        agent.wait_for_metric(OPEN, &labels, 0.0, deadline(10.0))?;
        let few = scene.stay(3)?;
        agent.wait_for_metric(OPEN, &labels, 3.0, deadline(10.0))?;
        drop(few);
        agent.wait_for_metric(OPEN, &labels, 0.0, deadline(10.0))?;
    }
    // All of them were judged, with or without a place.
    let all = [("database", "orders"), ("workload", "api"), ("verdict", "allow")];
    agent.wait_for_metric("monitor_database_connections_total", &all, 69.0, deadline(10.0))?;
    agent.stop()?;
    Ok(())
}
