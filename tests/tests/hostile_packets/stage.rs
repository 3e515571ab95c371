//! Who meets: a server, and a client whose frames go past its own stack.

use std::{net::IpAddr, thread, time::Instant};

use anyhow::{Result, ensure};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    frames::{
        Ends,
        wire::{self, Wire},
    },
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::deadline,
};

use super::shapes::Shape;

/// The port that rules speak of.
pub const PORT: u16 = 7000;

pub struct Stage {
    pub server: Netns,
    pub client: Netns,
    pub place: Place,
    group: Cgroup,
    server_mac: [u8; 6],
}

/// An address of the link: `end` 1 is the server. Each IPv6 source is in a network of its own, as rules tell them apart.
pub fn address(v6: bool, end: u16) -> IpAddr {
    match (v6, end) {
        (false, end) => IpAddr::from([10, 93, (end >> 8) as u8, end as u8]),
        (true, 1) => IpAddr::from([0xfd93, 0, 0, 0, 0, 0, 0, 1]),
        (true, end) => IpAddr::from([0xfd93, 0, 0, end, 0, 0, 0, 2]),
    }
}

impl Stage {
    pub fn new() -> Result<Self> {
        let (server, client) = (Netns::new()?, Netns::new()?);
        server.link("s0", &client, "c0")?;
        for v6 in [false, true] {
            let length = if v6 { 48 } else { 16 };
            server.address("s0", address(v6, 1), length)?;
            client.address("c0", address(v6, 2), length)?;
        }
        let server_mac = wire::mac(&server, "s0")?;
        Ok(Self { server, client, place: Place::new()?, group: Cgroup::new()?, server_mac })
    }

    /// The client's end of the link.
    pub fn wire(&self) -> Result<Wire> {
        Wire::new(&self.client, "c0")
    }

    /// From an address to the server's port.
    pub fn ends(&self, wire: &Wire, from: IpAddr) -> Ends {
        let to = address(from.is_ipv6(), 1);
        Ends { from_mac: wire.mac, to_mac: self.server_mac, from, to, port: PORT }
    }

    pub fn agent(&self, attach: &str, unparsed: &str, rules: &str) -> Result<Agent<'_>> {
        let packets = format!("[packets]\nattach = {attach:?}\nunparsed = {unparsed:?}\n{rules}");
        Setup::new(Mode::Enforce, &self.group)
            .within(&self.server)
            .interfaces(&["s0"])
            .rules(&packets)
            .start()
    }

    /// Counts datagrams at the port.
    pub fn tally(&self, v6: bool) -> Result<Running> {
        let any = if v6 { "[::]" } else { "0.0.0.0" };
        let tally = Program::probe()?.arg("tally").with("listen", format!("{any}:{PORT}"));
        let mut tally = tally.within(&self.server)?.start()?;
        tally.json_line(deadline(10.0))?;
        Ok(tally)
    }

    /// Sends so many datagrams of each shape, each shape from a source of its own, as fast as it goes. For each, how many
    /// arrived, and how many seconds it took.
    pub fn volley(&self, v6: bool, shapes: &[Shape], count: u16) -> Result<Vec<(f64, f64)>> {
        let wire = self.wire()?;
        let tally = self.tally(v6)?;
        let sources: Vec<IpAddr> = (0x100..).take(shapes.len()).map(|end| address(v6, end)).collect();
        let mut took = Vec::new();
        for (shape, source) in shapes.iter().zip(&sources) {
            let ends = self.ends(&wire, *source);
            let begun = Instant::now();
            for number in 0..count {
                for frame in (shape.make)(&ends, number)? {
                    wire.send(&frame)?;
                }
                // Lets the other end of the link catch up: its queue is short.
                thread::yield_now();
            }
            took.push(begun.elapsed().as_secs_f64());
        }
        let counts = tally.finish(deadline(30.0))?.json()?;
        ensure!(counts["overflow"] == 0, "the server's socket was full: {counts}");
        let claimed =
            |(shape, source): (&Shape, &IpAddr)| shape.claims.map_or(source.to_string(), str::to_owned);
        let claimed: Vec<String> = shapes.iter().zip(&sources).map(claimed).collect();
        let known = |source: &String| claimed.contains(source);
        ensure!(
            counts["sources"].as_object().is_some_and(|sources| sources.keys().all(known)),
            "somebody else sent, too: {counts}"
        );
        let arrived = |source: &String| counts["sources"][source]["total"].as_f64().unwrap_or(0.0);
        Ok(claimed.iter().map(arrived).zip(took).collect())
    }
}
