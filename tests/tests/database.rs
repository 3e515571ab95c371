//! Database rules: who may connect. The server's log of what arrived is the oracle.

mod addresses;
mod existing;
mod others;
mod rings;
mod servers;
mod sources;
mod unix;
mod ways;

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    server::Server,
    wait::{deadline, eventually, slowdown},
};

/// One way to reach a server.
struct Way {
    name: &'static str,
    to: SocketAddr,
    protocol: &'static str,
    count: u64,
}

/// A server, and two clients that differ only in which file they run.
struct Scene {
    place: Place,
    group: Cgroup,
    server: Server,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let server = Server::start(&place, None, &["127.0.0.1:0", "[::1]:0"], &["127.0.0.1:0", "[::1]:0"])?;
        for name in ["allowed", "denied"] {
            place.copy("probe", name)?;
        }
        Ok(Self { place, group: Cgroup::new()?, server })
    }

    fn rules(&self) -> String {
        format!(
            "[[workload]]\nname = \"api\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nengine = \"postgres\"\nports = {:?}\nclients = [\"api\"]\n",
            self.place.join("allowed"),
            self.server.ports()
        )
    }

    fn agent(&self, mode: Mode) -> Result<Agent<'static>> {
        Setup::new(mode, &self.group).rules(&self.rules()).start()
    }

    /// A thousand connections over each family, and every other way a client can say something.
    fn ways(&self) -> Vec<Way> {
        let (tcp, udp) = (self.server.tcp(), self.server.udp());
        let mapped = SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], tcp[0].port()));
        let thousand = if slowdown() > 1.0 { 200 } else { 1000 };
        [
            ("tcp4", tcp[0], "tcp", thousand),
            ("tcp6", tcp[1], "tcp", thousand),
            ("mapped", mapped, "tcp", 100),
            ("udp4", udp[0], "udp", 100),
            ("udp6", udp[1], "udp", 100),
            ("sendto4", udp[0], "sendto", 100),
            ("sendto6", udp[1], "sendto", 100),
        ]
        .map(|(name, to, protocol, count)| Way { name, to, protocol, count })
        .into()
    }

    fn client(&self, program: &Path, way: &Way, tag: &str) -> Program {
        Program::new(program)
            .arg("connect")
            .with("to", way.to.to_string())
            .with("way", way.protocol)
            .with("count", way.count.to_string())
            .with("tag", tag)
    }

    /// Lets a client in the scope use every way; each must have the outcome, and arrive only if it is `ok`.
    fn drive(&self, name: &str, outcome: &str) -> Result<u64> {
        let mut attempts = 0;
        for way in self.ways() {
            let tag = format!("{name} {}", way.name);
            let client = self.client(&self.place.join(name), &way, &tag).inside(&self.group)?;
            assert_eq!(client.json(deadline(60.0))?, json!({ outcome: way.count }), "{tag}");
            let expected = if outcome == "ok" { way.count } else { 0 };
            self.server.wait_for(&tag, expected, deadline(20.0))?;
            assert_eq!(self.server.arrived(Some(&tag))?, expected, "{tag}");
            attempts += way.count;
        }
        Ok(attempts)
    }

    /// One connection over v4 by any program.
    fn once(&self, program: &Path, tag: &str) -> Result<Program> {
        let way = Way { name: "once", to: self.server.tcp()[0], protocol: "tcp", count: 1 };
        self.client(program, &way, tag).inside(&self.group)
    }

    /// One connection by each of these programs, and whether it must be let through.
    fn drive_each(&self, cases: &[(&str, &Path, bool)]) -> Result<()> {
        for &(what, program, passes) in cases {
            let outcome = self.once(program, what)?.json(deadline(20.0))?;
            assert_eq!(outcome, json!({ if passes { "ok" } else { "EPERM" }: 1 }), "{what}");
            self.server.wait_for(what, u64::from(passes), deadline(10.0))?;
        }
        Ok(())
    }
}

#[test]
fn without_an_agent_everybody_reaches_the_server() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["allowed", "denied"] {
        scene.drive(name, "ok")?;
    }
    Ok(())
}

#[test]
fn only_the_clients_of_a_database_reach_it() -> Result<()> {
    for mode in Mode::BOTH {
        let scene = Scene::new()?;
        let agent = scene.agent(mode)?;
        let allowed = scene.drive("allowed", "ok")?;
        let denied = scene.drive("denied", if mode == Mode::Enforce { "EPERM" } else { "ok" })?;
        let verdict = [("rule", "orders"), ("verdict", "deny"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &verdict, denied as f64, deadline(20.0))?;
        agent.wait_for_metric(
            "monitor_findings_total",
            &[("rule", "orders")],
            denied as f64,
            deadline(1.0),
        )?;
        let connections = [
            (vec![("workload", "api"), ("verdict", "allow")], allowed),
            (vec![("verdict", "deny"), ("mode", mode.name())], denied),
        ];
        for (mut labels, count) in connections {
            labels.push(("database", "orders"));
            let name = "monitor_database_connections_total";
            agent.wait_for_metric(name, &labels, count as f64, deadline(5.0))?;
        }
        let pid = scene.once(&scene.place.join("denied"), "last")?.finish(deadline(20.0))?.pid;
        let finding = agent.records().wait_for("the finding", deadline(10.0), |record| {
            record["type"] == "finding" && record["pid"] == pid
        })?;
        check_finding(&finding, mode, &scene)?;
        agent.stop()?;
    }
    Ok(())
}

fn check_finding(finding: &Value, mode: Mode, scene: &Scene) -> Result<()> {
    let server = scene.server.tcp()[0];
    let path = scene.place.join("denied");
    let expected = [
        ("rule", json!("orders")),
        ("rule_kind", json!("database")),
        ("verdict", json!("deny")),
        ("mode", json!(mode.name())),
        ("addr", json!(server.ip().to_string())),
        ("port", json!(server.port())),
        ("protocol", json!("tcp")),
        ("family", json!("ipv4")),
    ];
    for (key, value) in expected {
        assert_eq!(finding[key], value, "{key} of {finding}");
    }
    assert_eq!(finding["exe"]["path"], path.to_str().context("a path")?, "{finding}");
    assert!(finding["why"].as_str().is_some_and(|why| !why.is_empty()), "{finding}");
    Ok(())
}

#[test]
fn a_process_older_than_the_agent_is_who_it_is() -> Result<()> {
    let scene = Scene::new()?;
    let mut clients = Vec::new();
    for (name, outcome) in [("allowed", "ok"), ("denied", "EPERM")] {
        let mut client = scene.once(&scene.place.join(name), name)?.with("wait", "1").start()?;
        client.json_line(deadline(10.0))?;
        clients.push((name, outcome, client));
    }
    let agent = scene.agent(Mode::Enforce)?;
    for (name, outcome, mut client) in clients {
        client.tell("go")?;
        assert_eq!(client.json_line(deadline(20.0))?, json!({ outcome: 1 }), "{name}");
        scene.server.wait_for(name, u64::from(outcome == "ok"), deadline(10.0))?;
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn another_name_is_no_other_program_and_a_copy_is() -> Result<()> {
    let scene = Scene::new()?;
    let (allowed, denied) = (scene.place.join("allowed"), scene.place.join("denied"));
    let names = ["linked", "symlink", "denied symlink"].map(|name| scene.place.join(name));
    fs::hard_link(&allowed, &names[0])?;
    symlink(&allowed, &names[1])?;
    symlink(&denied, &names[2])?;
    let copy = scene.place.copy("probe", "elsewhere/allowed")?;
    let cases: [(&str, &Path, bool); 6] = [
        ("the path itself", &allowed, true),
        ("a hard link", &names[0], true),
        ("a symbolic link", &names[1], true),
        ("another program", &denied, false),
        ("another program by a symbolic link", &names[2], false),
        ("a copy of the same name", &copy, false),
    ];
    for (what, program, _) in cases {
        assert_eq!(scene.once(program, "control")?.json(deadline(20.0))?, json!({ "ok": 1 }), "{what}");
    }
    let agent = scene.agent(Mode::Enforce)?;
    scene.drive_each(&cases)?;
    agent.stop()?;
    Ok(())
}

/// Any change of the file moves its change time: the agent must look at it again and find that it is the same.
#[test]
fn a_program_linked_while_the_agent_runs_is_known_again() -> Result<()> {
    let scene = Scene::new()?;
    let allowed = scene.place.join("allowed");
    let agent = scene.agent(Mode::Enforce)?;
    scene.drive_each(&[("before", &allowed, true)])?;
    let linked = scene.place.join("linked");
    fs::hard_link(&allowed, &linked)?;
    eventually("the agent's second look", deadline(5.0), || {
        let outcome = scene.once(&linked, "again")?.json(deadline(20.0))?;
        Ok((outcome == json!({ "ok": 1 })).then_some(()))
    })?;
    scene.drive_each(&[("linked", &linked, true), ("the path", &allowed, true)])?;
    agent.stop()?;
    Ok(())
}

#[test]
fn a_process_outside_of_the_scope_is_not_touched() -> Result<()> {
    let scene = Scene::new()?;
    let other = Cgroup::new()?;
    let agent = scene.agent(Mode::Enforce)?;
    let denied = scene.place.join("denied");
    scene.drive_each(&[("inside", &denied, false)])?;
    let outside = scene.once(&denied, "outside")?.inside(&other)?.finish(deadline(20.0))?;
    assert_eq!(outside.json()?, json!({ "ok": 1 }));
    scene.server.wait_for("outside", 1, deadline(10.0))?;
    // The finding of a later refusal proves that an earlier one would have been written by now.
    let last = scene.once(&denied, "last")?.finish(deadline(20.0))?;
    let records = agent.records();
    records.wait_for("the last refusal", deadline(10.0), |record| {
        record["type"] == "finding" && record["pid"] == last.pid
    })?;
    assert_eq!(records.matching(|record| record["pid"] == outside.pid)?, Vec::<Value>::new());
    agent.stop()?;
    Ok(())
}
