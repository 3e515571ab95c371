//! `servers`: who may wait for a database's clients. What `bind` and `listen` answered is the oracle.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

use super::addresses::free_port;

const WAYS: [&str; 4] = ["tcp", "udp", "mptcp", "family0"];

struct Scene {
    place: Place,
    group: Cgroup,
    port: u16,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        for name in ["postgres", "other"] {
            place.copy("probe", name)?;
        }
        Ok(Self { place, group: Cgroup::new()?, port: free_port()? })
    }

    fn agent(&self, mode: Mode) -> Result<Agent<'static>> {
        let rules = format!(
            "[[workload]]\nname = \"postgres\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nports = [{}]\nservers = [\"postgres\"]\n",
            self.place.join("postgres"),
            self.port
        );
        Setup::new(mode, &self.group).rules(&rules).start()
    }

    /// Binds every kind of local address in one way; tells the outcome of each.
    fn bind(&self, program: &str, way: &str, port: u16) -> Result<BTreeMap<SocketAddr, String>> {
        let hosts = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"];
        let hosts = hosts.map(|host| format!("{host}:{port}"));
        let bind = Program::new(self.place.join(program)).arg("bind").with("way", way);
        let said = bind.with("to", hosts.join(",")).inside(&self.group)?.json(deadline(20.0))?;
        let outcome = |(address, outcomes): (&String, &Value)| {
            let word = outcomes.as_object().and_then(|outcomes| outcomes.keys().next());
            Ok((address.parse()?, word.context("an outcome")?.clone()))
        };
        said.as_object().context("outcomes")?.iter().map(outcome).collect()
    }

    /// The server, for clients; others may share its port.
    fn server(&self) -> Result<Server> {
        let program = Program::new(self.place.join("postgres")).inside(&self.group)?;
        let at = [format!("127.0.0.1:{}", self.port), format!("[::1]:{}", self.port)];
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        Server::run(program, &self.place, &at, &at, &[("shared", "1")])
    }

    fn reach(&self, server: &Server, tag: &str) -> Result<()> {
        for (way, ends) in [("tcp", server.tcp()), ("udp", server.udp())] {
            for to in ends {
                let client = Program::probe()?.arg("connect").with("way", way).with("to", to.to_string());
                client.with("tag", tag).json(deadline(20.0))?;
            }
        }
        server.wait_for(tag, 4, deadline(10.0))
    }
}

#[test]
fn nobody_else_serves_a_databases_port() -> Result<()> {
    let scene = Scene::new()?;
    let mut control = BTreeMap::new();
    for way in WAYS {
        control.insert(way, scene.bind("other", way, scene.port)?);
    }
    ensure!(control["tcp"].values().all(|outcome| outcome == "ok"), "without an agent: {control:?}");
    for mode in Mode::BOTH {
        let agent = scene.agent(mode)?;
        // Before there is a server, and beside it.
        for beside in [false, true] {
            let server = if beside { Some(scene.server()?) } else { None };
            for (way, possible) in &control {
                for (address, outcome) in scene.bind("other", way, scene.port)? {
                    let control = &possible[&address];
                    let expected = match (mode, control.as_str()) {
                        (Mode::Enforce, "ok") => "EPERM",
                        (_, other) => other,
                    };
                    assert_eq!(outcome, expected, "{way} {address}, beside: {beside}, {mode:?}");
                }
                let outcomes = scene.bind("postgres", way, scene.port)?;
                assert_eq!(&outcomes, possible, "the server itself, {way}, {mode:?}");
                let outcomes = scene.bind("other", way, scene.port ^ 1)?;
                ensure!(outcomes.values().all(|outcome| outcome != "EPERM"), "another port: {outcomes:?}");
            }
            if let Some(server) = server {
                scene.reach(&server, &format!("client {}", mode.name()))?;
            }
        }
        let made = control.values().flat_map(BTreeMap::values).filter(|outcome| *outcome == "ok").count() * 2;
        let labels = [("database", "orders"), ("direction", "server"), ("workload", "other")];
        let labels = [&labels[..], &[("verdict", "deny"), ("mode", mode.name())]].concat();
        let name = "monitor_database_connections_total";
        agent.wait_for_metric(name, &labels, made as f64, deadline(10.0))?;
        agent.stop()?;
    }
    Ok(())
}

/// Whoever gets a listening socket is the server: systemd hands them over like that.
#[test]
fn a_listening_socket_that_is_handed_over_is_not_judged_again() -> Result<()> {
    let scene = Scene::new()?;
    let at = format!("127.0.0.1:{}", scene.port);
    let agent = scene.agent(Mode::Enforce)?;
    let refused = scene.bind("other", "tcp", scene.port)?;
    ensure!(refused.values().all(|outcome| outcome == "EPERM"), "{refused:?}");
    let sockets = scene.place.join("sockets");
    let give = Program::new(scene.place.join("postgres")).arg("give").with("listen", &sockets);
    let mut give = give.with("to", &at).with("listening", "1").inside(&scene.group)?.start()?;
    give.json_line(deadline(10.0))?;
    let accept = Program::new(scene.place.join("other")).arg("accept").with("from", &sockets);
    let mut accept = accept.inside(&scene.group)?.start()?;
    accept.json_line(deadline(10.0))?;
    let client = Program::probe()?.arg("connect").with("way", "tcp").with("to", &at).with("tag", "hello");
    client.json(deadline(10.0))?;
    assert_eq!(accept.json_line(deadline(10.0))?, serde_json::json!({ "said": "hello" }));
    agent.stop()?;
    Ok(())
}
