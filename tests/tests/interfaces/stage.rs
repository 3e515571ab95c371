//! A server with as many links as wanted, all to one client, and what gets through on each.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use anyhow::{Result, ensure};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::{deadline, eventually},
};

/// The port that the rule speaks of.
pub const PORT: u16 = 7000;
/// Datagrams that are sent to see what gets through.
pub const SENT: f64 = 1000.0;
/// Of a rule that lets through 10 at once and 10 a second, no more than that.
pub const FEW: f64 = 100.0;
pub const LIMIT: &str = "ports = [7000]\nprotocol = \"udp\"\npackets = \"10/s\"\nburst = 10\n";

pub struct Stage {
    pub server: Netns,
    pub client: Netns,
    pub group: Cgroup,
    _place: Place,
}

/// The address on a link: `end` 1 is the server's, 2 the client's.
pub fn address(link: u8, end: u8) -> IpAddr {
    IpAddr::from([10, 94, link, end])
}

impl Stage {
    pub fn new() -> Result<Self> {
        Ok(Self {
            server: Netns::new()?,
            client: Netns::new()?,
            group: Cgroup::new()?,
            _place: Place::new()?,
        })
    }

    /// Links the server's interface with one of the client's.
    pub fn link(&self, name: &str, link: u8) -> Result<()> {
        let far = format!("c{link}");
        self.server.link(name, &self.client, &far)?;
        self.server.address(name, address(link, 1), 24)?;
        self.client.address(&far, address(link, 2), 24)
    }

    pub fn setup(&self, rules: &str) -> Setup<'_> {
        Setup::new(Mode::Enforce, &self.group).within(&self.server).rules(rules)
    }

    /// An agent with one rule that holds on these interfaces.
    pub fn agent(&self, interfaces: &[&str]) -> Result<Agent<'_>> {
        self.setup(&rule("")).interfaces(interfaces).start()
    }

    /// Counts datagrams at the port.
    pub fn tally(&self) -> Result<Running> {
        let tally = Program::probe()?.arg("tally").with("listen", format!("0.0.0.0:{PORT}"));
        let mut tally = tally.within(&self.server)?.start()?;
        tally.json_line(deadline(10.0))?;
        Ok(tally)
    }

    /// How many of [`SENT`] datagrams that the client sends over a link arrive.
    pub fn arrive(&self, link: u8) -> Result<f64> {
        self.arrive_from(&self.client, address(link, 1), address(link, 2))
    }

    pub fn arrive_from(&self, sender: &Netns, to: IpAddr, from: IpAddr) -> Result<f64> {
        let tally = self.tally()?;
        let flood = Program::probe()?.arg("flood").with("to", SocketAddr::new(to, PORT).to_string());
        let flood = flood.with("count", SENT.to_string()).with("rate", "5000").within(sender)?;
        flood.json(deadline(30.0))?;
        let counts = tally.finish(deadline(10.0))?.json()?;
        ensure!(counts["overflow"] == 0, "the server's socket was full: {counts}");
        Ok(counts["sources"][from.to_string()]["total"].as_f64().unwrap_or(0.0))
    }

    /// Waits until the kernel says that an XDP program is on an interface, or that none is: at most a second.
    pub fn within_a_second(&self, interface: &str, covered: bool) -> Result<()> {
        let begun = Instant::now();
        eventually(&format!("{interface} covered: {covered}"), deadline(1.0), || {
            Ok((self.server.xdp(interface)?.is_some() == covered).then_some(()))
        })?;
        println!("{interface} covered: {covered}, after {} ms", begun.elapsed().as_millis());
        Ok(())
    }
}

/// The rule, with more of it.
pub fn rule(more: &str) -> String {
    format!("[[rate_limit]]\nname = \"flood\"\n{LIMIT}{more}")
}

/// How many interfaces bear this name and mode in the agent's metrics.
pub fn shown(agent: &Agent<'_>, interface: &str, mode: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("monitor_attach_info", &[("interface", interface), ("mode", mode)]))
}
