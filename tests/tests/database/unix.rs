//! Unix sockets: the file of the socket counts, not how a client spells its path.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{self, Agent, Mode, Setup, doctor::security_hooks},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    wait::{deadline, eventually},
};

struct Scene {
    place: Place,
    group: Cgroup,
    _server: Running,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        for name in ["allowed", "denied"] {
            place.copy("probe", name)?;
        }
        let run = place.directory("run")?;
        place.directory("elsewhere")?;
        let server = Program::probe()?.arg("unix-serve").with("log", place.join("log"));
        let server = server.with("stream", run.join("stream")).with("datagram", run.join("datagram"));
        let mut server = server.start()?;
        server.json_line(deadline(10.0))?;
        for kind in ["stream", "datagram"] {
            symlink(run.join(kind), place.join(format!("{kind} by symlink")))?;
            fs::hard_link(run.join(kind), place.join(format!("{kind} by link")))?;
        }
        Ok(Self { place, group: Cgroup::new()?, _server: server })
    }

    fn setup(&self, mode: Mode, more: &str) -> Setup<'static> {
        let sockets = ["stream", "datagram"].map(|kind| self.place.join("run").join(kind));
        let rules = format!(
            "[[workload]]\nname = \"api\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nsockets = {sockets:?}\nclients = [\"api\"]\n{more}\n",
            self.place.join("allowed")
        );
        Setup::new(mode, &self.group).rules(&rules)
    }

    /// Every spelling of both sockets: what it is called, the path, and how it is spelled.
    fn spellings(&self) -> Vec<(String, &'static str, PathBuf, &'static str)> {
        let mut all = Vec::new();
        for (kind, socket) in [("stream", "stream"), ("datagram", "datagram"), ("sendto", "datagram")] {
            let path = self.place.join("run").join(socket);
            for spelling in ["plain", "relative", "descriptor", "mounted"] {
                all.push((format!("{kind} {spelling}"), kind, path.clone(), spelling));
            }
            for link in ["by symlink", "by link"] {
                let path = self.place.join(format!("{socket} {link}"));
                all.push((format!("{kind} {link}"), kind, path, "plain"));
            }
        }
        all
    }

    fn drive(&self, program: &str, phase: &str, outcome: &str) -> Result<u64> {
        let spellings = self.spellings();
        for (name, kind, path, spelling) in &spellings {
            let tag = format!("{phase} {program} {name}");
            let client = Program::new(self.place.join(program)).arg("unix").with("to", path);
            let client = client.with("kind", kind).with("spelling", spelling).with("tag", &tag);
            let client = client.with("mount", self.place.join("elsewhere")).inside(&self.group)?;
            assert_eq!(client.json(deadline(20.0))?, json!({ outcome: 1 }), "{tag}");
            eventually(&tag, deadline(5.0), || {
                Ok((arrived(&self.place.join("log"), &tag)? == u64::from(outcome == "ok")).then_some(()))
            })?;
        }
        Ok(spellings.len() as u64)
    }
}

fn arrived(log: &Path, tag: &str) -> Result<u64> {
    let text = fs::read_to_string(log)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["said"] == tag).count() as u64)
}

#[test]
fn a_socket_is_its_file_however_it_is_spelled() -> Result<()> {
    let scene = Scene::new()?;
    scene.drive("denied", "control", "ok")?;
    let hooks = {
        let _turn = agent::turn();
        security_hooks()?
    };
    if !hooks {
        return without_security_hooks(&scene);
    }
    for mode in Mode::BOTH {
        let agent = scene.setup(mode, "").start()?;
        scene.drive("allowed", mode.name(), "ok")?;
        let refusal = if mode == Mode::Enforce { "EPERM" } else { "ok" };
        let made = scene.drive("denied", mode.name(), refusal)?;
        // The kernel asks for a connected datagram socket at its connect, and again for what it sends.
        let connected = scene.spellings().iter().filter(|(_, kind, ..)| *kind == "datagram").count() as u64;
        counted(&agent, mode, if mode == Mode::Observe { made + connected } else { made })?;
        agent.stop()?;
    }
    Ok(())
}

fn counted(agent: &Agent<'_>, mode: Mode, made: u64) -> Result<()> {
    let labels =
        [("database", "orders"), ("direction", "client"), ("verdict", "deny"), ("mode", mode.name())];
    agent.wait_for_metric("monitor_database_connections_total", &labels, made as f64, deadline(10.0))
}

/// An agent that can't hold such a rule doesn't start, and says why; it doesn't pretend.
fn without_security_hooks(scene: &Scene) -> Result<()> {
    {
        let _turn = agent::turn();
        let program =
            scene.setup(Mode::Enforce, "").program(&scene.place, &scene.place.join("run of agent"))?;
        let end = program.finish(deadline(30.0))?;
        assert_eq!(end.status.code(), Some(1), "{}", end.stderr);
        for word in ["orders", "sockets", "LSM", "degrade"] {
            assert!(end.stderr.contains(word), "the message doesn't name {word:?}:\n{}", end.stderr);
        }
    }
    println!("this kernel runs no LSM programs: the agent refused the rule, as it must");
    let agent = scene.setup(Mode::Enforce, "degrade = \"observe\"").start()?;
    scene.drive("denied", "degraded", "ok")?;
    agent.stop()?;
    Ok(())
}
