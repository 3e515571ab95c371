//! What the rules are about: programs, a cgroup, servers, and a namespace with two links.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Program, Running},
    server::Server,
    wait::deadline,
};

/// Ports in the namespace of packets: one with a limit, one with a list of sources, one that no rule speaks of.
pub const LIMITED: u16 = 7000;
pub const LISTED: u16 = 7001;
pub const FREE: u16 = 7002;

/// Names of copies of `first`, each with a rule of its own, or with none.
const FIRSTS: [&str; 7] = ["denied", "killed", "argued", "listed", "unlisted", "renamed", "free"];
/// Names of copies of `probe`: members of workloads, and one that is a stranger to all.
const PROBES: [&str; 4] = ["client", "moved", "lister", "stranger"];

/// Everything there is before an agent; dropping it removes it.
pub struct Stage {
    pub place: Place,
    pub group: Cgroup,
    /// Where the agent lives, with the interfaces `s0`, `s1` and `lo`.
    pub here: Netns,
    /// The other ends of the links.
    pub there: [Netns; 2],
    /// On the loopback device of the host's namespace, TCP and UDP, both families.
    pub database: Server,
    /// In the namespace of packets, UDP, at each address and port; in the scope.
    pub packets: Server,
    /// A free port of the loopback device.
    pub served: u16,
    _unix: Running,
}

/// The address of an end of a link: 1 is here, 2 is there.
pub fn address(link: usize, end: usize) -> IpAddr {
    IpAddr::from([10, 94, link as u8, end as u8])
}

impl Stage {
    pub fn new() -> Result<Self> {
        let (place, group) = (Place::new()?, Cgroup::new()?);
        for name in FIRSTS {
            place.copy("first", name)?;
        }
        for name in PROBES {
            place.copy("probe", name)?;
        }
        place.directory("work")?;
        let (here, there) = (Netns::new()?, [Netns::new()?, Netns::new()?]);
        for (link, other) in there.iter().enumerate() {
            let (near, far) = (format!("s{link}"), format!("c{link}"));
            here.link(&near, other, &far)?;
            here.address(&near, address(link, 1), 24)?;
            other.address(&far, address(link, 2), 24)?;
        }
        let database = Server::start(&place, None, &["127.0.0.1:0", "[::1]:0"], &["127.0.0.1:0", "[::1]:0"])?;
        let at: Vec<String> = [LIMITED, LISTED, FREE]
            .iter()
            .flat_map(|port| {
                [address(0, 1), address(1, 1), [127, 0, 0, 1].into()].map(|at| format!("{at}:{port}"))
            })
            .collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        let packets = Server::run(Program::probe()?.within(&here)?.inside(&group)?, &place, &[], &at, &[])?;
        let unix = Program::probe()?.arg("unix-serve").with("log", place.join("unix.log"));
        let mut unix =
            unix.with("stream", place.join("stream")).with("datagram", place.join("datagram")).start()?;
        unix.json_line(deadline(10.0))?;
        let served = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { place, group, here, there, database, packets, served, _unix: unix })
    }

    /// An agent in enforce mode with these rules, not started.
    pub fn setup(&self, rules: &str) -> Setup<'_> {
        let workloads: String = ["client", "moved", "lister"]
            .iter()
            .map(|name| format!("[[workload]]\nname = {name:?}\nexe = [{:?}]\n\n", self.place.join(name)))
            .collect();
        Setup::new(Mode::Enforce, &self.group)
            .within(&self.here)
            .interfaces(if rules.contains("[[rate_limit]]") { &["s0", "s1", "lo"] } else { &[] })
            .rules(&workloads)
            .rules(rules)
    }

    /// The path of a copy, as a string of TOML.
    pub fn quoted(&self, name: &str) -> String {
        format!("{:?}", self.place.join(name))
    }

    /// One of the copies in the scope, in a working directory of its own.
    pub fn program(&self, name: &str) -> Result<Program> {
        Program::new(self.place.join(name)).directory(&self.place.join("work")).inside(&self.group)
    }

    /// Lets one program start another some times; what became of all.
    pub fn spawn(&self, by: &str, program: &str, count: u64, arguments: &[&str]) -> Result<Value> {
        self.spawn_at(by, &self.place.join(program), count, arguments)
    }

    /// The same with a file that has any path.
    pub fn spawn_at(&self, by: &str, program: &PathBuf, count: u64, arguments: &[&str]) -> Result<Value> {
        let spawn = self.program(by)?.arg("spawn").with("program", program).with("count", count.to_string());
        spawn.arg("--").args(arguments).json(deadline(60.0))
    }

    /// Lets a program in the scope speak to an address; the one word for what became of all attempts.
    pub fn speak(&self, name: &str, way: &str, to: SocketAddr, count: u64, tag: &str) -> Result<String> {
        let said =
            self.program(name)?.arg("connect").with("way", way).with("to", to.to_string()).with("tag", tag);
        only(&said.with("count", count.to_string()).json(deadline(60.0))?, count)
    }

    /// Sends datagrams over a link and tells how many arrived; all that arrive have when it returns. Link 2 is the loopback
    /// device.
    pub fn send(&self, link: usize, port: u16, count: u64, tag: &str) -> Result<u64> {
        let from = self.there.get(link).unwrap_or(&self.here);
        let at = if link < self.there.len() { address(link, 1) } else { [127, 0, 0, 1].into() };
        for (port, count, tag) in [(port, count, tag), (FREE, 1, &format!("after {tag}"))] {
            let send = Program::probe()?.arg("connect").with("way", "sendto").with("tag", tag);
            let send =
                send.with("to", SocketAddr::new(at, port).to_string()).with("count", count.to_string());
            assert_eq!(send.within(from)?.json(deadline(60.0))?, json!({ "ok": count }), "{tag}");
        }
        // Datagrams of a link arrive in order.
        self.packets.wait_for(&format!("after {tag}"), 1, deadline(20.0))?;
        self.packets.arrived(Some(tag))
    }
}

/// `{"EPERM": 3}` is `EPERM`; several outcomes are all of them.
pub fn only(outcomes: &Value, count: u64) -> Result<String> {
    let outcomes = outcomes.as_object().context("outcomes")?;
    let word = outcomes.iter().find(|(_, times)| **times == count).map(|(word, _)| word.clone());
    Ok(word.unwrap_or_else(|| json!(outcomes).to_string()))
}
