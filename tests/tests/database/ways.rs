//! Every way to open a conversation with a port is the same to a rule: one attempt, one event, one count, one answer.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    server::Server,
    wait::{deadline, slowdown},
};

const STREAMS: [&str; 11] = [
    "tcp",
    "nonblocking",
    "fastopen",
    "fastopen-connect",
    "mptcp",
    "uring",
    "uring-sqpoll",
    "uring-async",
    "compat-socketcall",
    "compat-connect",
    "taken",
];
const DATAGRAMS: [&str; 5] = ["udp", "sendto", "sendto-connected", "sendmsg", "sendmmsg"];

/// Ways that send datagrams from a socket that isn't connected to the port.
const UNCONNECTED: [&str; 4] = ["sendto", "sendto-connected", "sendmsg", "sendmmsg"];

struct Attempt {
    name: String,
    way: &'static str,
    to: SocketAddr,
}

/// A server, somebody in another cgroup who makes sockets for others, and two clients.
struct Scene {
    place: Place,
    group: Cgroup,
    server: Server,
    _makers: Vec<Running>,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let server = Server::start(&place, None, &["127.0.0.1:0", "[::1]:0"], &["127.0.0.1:0", "[::1]:0"])?;
        for name in ["allowed", "denied"] {
            place.copy("probe", name)?;
        }
        let mut makers = Vec::new();
        for (name, to) in ["sockets4", "sockets6"].iter().zip(server.tcp()) {
            let maker = Program::probe()?.arg("give").with("listen", place.join(name));
            let mut maker = maker.with("to", to.to_string()).start()?;
            maker.json_line(deadline(10.0))?;
            makers.push(maker);
        }
        Ok(Self { place, group: Cgroup::new()?, server, _makers: makers })
    }

    fn attempts(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let ends = [(&STREAMS[..], self.server.tcp()), (&DATAGRAMS[..], self.server.udp())];
        for (ways, ends) in ends {
            let (v4, v6) = (ends[0], ends[1]);
            let targets = [
                ("v4", v4),
                ("v6", v6),
                ("0.0.0.0", SocketAddr::from(([0, 0, 0, 0], v4.port()))),
                ("::", SocketAddr::from(([0_u16; 8], v6.port()))),
                ("mapped", SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], v4.port()))),
            ];
            for way in ways {
                for (target, to) in targets {
                    attempts.push(Attempt { name: format!("{way} to {target}"), way, to });
                }
            }
        }
        let any = SocketAddr::from(([0_u16; 8], self.server.tcp()[0].port()));
        attempts.push(Attempt { name: ":: from a mapped address".into(), way: "bound-mapped", to: any });
        attempts
    }

    /// Makes an attempt `count` times and returns the outcomes.
    fn attempt(&self, attempt: &Attempt, program: &str, count: u64, tag: &str) -> Result<Value> {
        let sockets = if attempt.to.is_ipv4() { "sockets4" } else { "sockets6" };
        let client = Program::new(self.place.join(program)).arg("connect").with("way", attempt.way);
        let client = client.with("to", attempt.to.to_string()).with("count", count.to_string());
        let client = client.with("from", self.place.join(sockets)).with("tag", tag);
        client.inside(&self.group)?.json(deadline(60.0)).with_context(|| attempt.name.clone())
    }

    /// Makes all attempts; each has the outcome that `expected` says, and arrives only if that is `ok`.
    fn drive(
        &self,
        program: &str,
        count: u64,
        phase: &str,
        expected: impl Fn(&Attempt) -> &'static str,
    ) -> Result<()> {
        let attempts = self.attempts();
        let tag = |attempt: &Attempt| format!("{phase} {program} {}", attempt.name);
        for attempt in &attempts {
            let outcome = self.attempt(attempt, program, count, &tag(attempt))?;
            assert_eq!(outcome, json!({ expected(attempt): count }), "{}", tag(attempt));
        }
        for attempt in &attempts {
            let arrivals = if expected(attempt) == "ok" { count } else { 0 };
            self.server.wait_for(&tag(attempt), arrivals, deadline(20.0))?;
            assert_eq!(self.server.arrived(Some(&tag(attempt)))?, arrivals, "{}", tag(attempt));
        }
        Ok(())
    }

    /// What this kernel can do at all: the outcome of each attempt without an agent.
    fn control(&self) -> Result<BTreeMap<String, String>> {
        let mut outcomes = BTreeMap::new();
        for attempt in self.attempts() {
            let outcome = self.attempt(&attempt, "denied", 1, "control")?;
            let word = if outcome == json!({ "Unsupported": 1 }) { "Unsupported" } else { "ok" };
            ensure!(outcome == json!({ word: 1 }), "{} without an agent: {outcome}", attempt.name);
            if word != "ok" {
                println!("{}: not on this kernel", attempt.name);
            }
            outcomes.insert(attempt.name, word.to_owned());
        }
        ensure!(outcomes["tcp to v4"] == "ok" && outcomes["udp to v6"] == "ok");
        Ok(outcomes)
    }

    fn agent(&self, mode: Mode) -> Result<Agent<'static>> {
        let rules = format!(
            "[[workload]]\nname = \"api\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nports = {:?}\nclients = [\"api\"]\n",
            self.place.join("allowed"),
            self.server.ports()
        );
        Setup::new(mode, &self.group).rules(&rules).start()
    }
}

#[test]
fn no_way_leads_round_a_rule() -> Result<()> {
    let count = if slowdown() > 1.0 { 2 } else { 5 };
    let scene = Scene::new()?;
    let control = scene.control()?;
    let possible = |attempt: &Attempt| control[&attempt.name] == "ok";
    let made = scene.attempts().iter().filter(|attempt| possible(attempt)).count() as u64 * count;
    for mode in Mode::BOTH {
        let agent = scene.agent(mode)?;
        let answer =
            |attempt: &Attempt, word: &'static str| if possible(attempt) { word } else { "Unsupported" };
        scene.drive("allowed", count, mode.name(), |attempt| answer(attempt, "ok"))?;
        let refusal = if mode == Mode::Enforce { "EPERM" } else { "ok" };
        scene.drive("denied", count, mode.name(), |attempt| answer(attempt, refusal))?;
        for (workload, verdict) in [("api", "allow"), ("other", "deny")] {
            let labels = [
                ("database", "orders"),
                ("direction", "client"),
                ("workload", workload),
                ("verdict", verdict),
                ("mode", mode.name()),
            ];
            let name = "monitor_database_connections_total";
            agent.wait_for_metric(name, &labels, made as f64, deadline(10.0))?;
        }
        let verdict = [("rule", "orders"), ("verdict", "deny"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &verdict, made as f64, deadline(5.0))?;
        let stopped = agent.stop()?;
        let attempts: Vec<Attempt> =
            scene.attempts().into_iter().filter(|attempt| possible(attempt)).collect();
        let records = stopped.records();
        let events = records.matching(|record| record["kind"] == "connect")?;
        check_events(&scene, &events, &attempts, count)?;
        let findings: Vec<_> =
            records.findings("orders")?.into_iter().filter(|finding| finding["kind"] == "connect").collect();
        assert_eq!(findings.len() as u64, made, "findings");
        for finding in findings {
            assert_eq!(finding["exe"]["path"], json!(scene.place.join("denied")), "{finding}");
        }
    }
    Ok(())
}

/// One event for each attempt; datagrams without a connection become events only when a rule refuses them, and what goes to
/// other ports doesn't count here.
fn check_events(scene: &Scene, events: &[Value], possible: &[Attempt], count: u64) -> Result<()> {
    let connections = possible.iter().filter(|attempt| !UNCONNECTED.contains(&attempt.way)).count();
    for (program, expected) in [("allowed", connections), ("denied", possible.len())] {
        let path = json!(scene.place.join(program));
        let own = events.iter().filter(|event| {
            let port = event["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            event["exe"]["path"] == path && port.is_some_and(|port| scene.server.ports().contains(&port))
        });
        assert_eq!(own.count() as u64, expected as u64 * count, "events of {program}");
    }
    Ok(())
}
