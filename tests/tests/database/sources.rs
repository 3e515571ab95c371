//! `sources`: from where a database's port is reached, decided on each packet. The server's log is the oracle.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use serde_json::json;
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

const PORT: u16 = 7100;
/// How many prefixes the list has besides the two that matter.
const PREFIXES: usize = 5_000;

/// The client on link 0 is in a listed network, the one on link 1 isn't.
struct Scene {
    place: Place,
    group: Cgroup,
    server: Netns,
    clients: [Netns; 2],
}

/// The address of an end of a link: 1 is the server's, 2 the client's.
fn address(v6: bool, link: usize, end: usize) -> IpAddr {
    match v6 {
        false => IpAddr::from([10, 93, link as u8, end as u8]),
        true => IpAddr::from([0xfd93, 0, 0, link as u16, 0, 0, 0, end as u16]),
    }
}

impl Scene {
    fn new() -> Result<Self> {
        let scene = Self {
            place: Place::new()?,
            group: Cgroup::new()?,
            server: Netns::new()?,
            clients: [Netns::new()?, Netns::new()?],
        };
        for (link, client) in scene.clients.iter().enumerate() {
            let (near, far) = (format!("s{link}"), format!("c{link}"));
            scene.server.link(&near, client, &far)?;
            for (v6, prefix) in [(false, 24), (true, 64)] {
                scene.server.address(&near, address(v6, link, 1), prefix)?;
                client.address(&far, address(v6, link, 2), prefix)?;
            }
        }
        Ok(scene)
    }

    fn agent(&self, mode: Mode) -> Result<Agent<'_>> {
        let mut sources = "\"10.93.0.0/24\", \"fd93:0:0:0::/64\"".to_owned();
        for number in 0..PREFIXES {
            // None of them is the other client's.
            match number % 2 {
                0 => write!(sources, ", \"172.{}.{}.0/24\"", 16 + number / 512, number / 2 % 256)?,
                _ => write!(sources, ", \"2001:db8:{number:x}::/48\"")?,
            }
        }
        let rules = format!("[[database]]\nname = \"orders\"\nports = [{PORT}]\nsources = [{sources}]\n");
        Setup::new(mode, &self.group).within(&self.server).rules(&rules).start()
    }

    fn server(&self) -> Result<Server> {
        // One address for each link and family: a wildcard would show v4 clients as v6.
        let at: Vec<String> = [false, true]
            .iter()
            .flat_map(|&v6| [0, 1].map(|link| SocketAddr::new(address(v6, link, 1), PORT).to_string()))
            .chain([format!("127.0.0.1:{PORT}")])
            .collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        let program = Program::probe()?.within(&self.server)?.inside(&self.group)?;
        Server::run(program, &self.place, &at, &at, &[])
    }

    /// Datagrams and attempts to connect from a client over both families; the outcomes of the latter.
    fn knock(&self, link: usize, to: usize, tag: &str) -> Result<Vec<serde_json::Value>> {
        let mut outcomes = Vec::new();
        for v6 in [false, true] {
            let to = SocketAddr::new(address(v6, to, 1), PORT).to_string();
            let send = Program::probe()?.arg("connect").with("way", "sendto").with("to", &to);
            let send = send.with("count", "3").with("tag", tag).within(&self.clients[link])?;
            assert_eq!(send.json(deadline(20.0))?, json!({ "ok": 3 }), "{tag}");
            let attempt = Program::probe()?.arg("attempt").with("to", &to).with("count", "3");
            let attempt = attempt.with("rate", "1000").with("patience", "0.5").within(&self.clients[link])?;
            outcomes.push(attempt.json(deadline(20.0))?);
        }
        Ok(outcomes)
    }
}

#[test]
fn packets_from_elsewhere_do_not_reach_the_port() -> Result<()> {
    let scene = Scene::new()?;
    let server = scene.server()?;
    let (passed, dropped) = (json!({ "ok": 3 }), json!({ "timeout": 3 }));
    for link in [0, 1] {
        let tag = format!("link {link} without an agent");
        assert_eq!(scene.knock(link, link, &tag)?, [passed.clone(), passed.clone()], "{tag}");
        server.wait_for(&tag, 6, deadline(10.0))?;
    }
    for mode in Mode::BOTH {
        let agent = scene.agent(mode)?;
        let tag = |who: &str| format!("{who} {}", mode.name());
        let refused = mode == Mode::Enforce;
        let expected = if refused { &dropped } else { &passed };
        let outcomes = scene.knock(1, 1, &tag("outside"))?;
        assert_eq!(outcomes, [expected.clone(), expected.clone()], "{}", tag("outside"));
        assert_eq!(scene.knock(0, 0, &tag("inside"))?, [passed.clone(), passed.clone()], "{mode:?}");
        server.wait_for(&tag("inside"), 6, deadline(10.0))?;
        // What the client inside sent later has arrived: nothing from outside is on its way.
        if !refused {
            server.wait_for(&tag("outside"), 6, deadline(10.0))?;
        }
        let arrived = server.arrived(Some(&tag("outside")))?;
        assert_eq!(arrived, if refused { 0 } else { 6 }, "{}", tag("outside"));
        let local = Program::probe()?.arg("reach").with("to", format!("127.0.0.1:{PORT}"));
        let local = local.with("tag", tag("loopback")).within(&scene.server)?.json(deadline(20.0))?;
        assert_eq!(local, json!(["ok"]), "loopback is never judged");
        // Three datagrams and three first packets over each family, at the least.
        let labels = [("database", "orders"), ("direction", "source"), ("verdict", "drop")];
        let labels = [&labels[..], &[("mode", mode.name())]].concat();
        let metrics = agent.metrics()?;
        let name = "monitor_database_connections_total";
        assert!(metrics.sum(name, &labels) >= 12.0, "{:?}", metrics.series(name));
        agent.records().wait_for("a finding", deadline(5.0), |record| {
            record["type"] == "finding" && record["source"] == address(false, 1, 2).to_string()
        })?;
        agent.stop()?;
    }
    Ok(())
}
