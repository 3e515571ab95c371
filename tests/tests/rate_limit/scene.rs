//! The stage for rate limits, and what is driven on it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::deadline,
};

/// Seconds that are counted.
pub const WINDOW: f64 = 10.0;
/// The port that rules speak of.
pub const PORT: u16 = 7000;
/// What every scenario runs over.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[derive(Debug, Clone, Copy)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The address of a client (`end` 2) or of the server (`end` 1) on a client's link.
    pub fn address(self, link: usize, end: usize) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([10, 92, link as u8, end as u8]),
            // Another /64 for each client: that is what a source is.
            Self::V6 => IpAddr::from([0xfd92, 0, 0, link as u16, 0, 0, 0, end as u16]),
        }
    }

    pub fn any(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0",
            Self::V6 => "[::]",
        }
    }

    fn prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

/// The flooding client is on link 0, the calm one on link 1.
pub struct Scene {
    pub server: Netns,
    pub clients: [Netns; 2],
    group: Cgroup,
    pub place: Place,
}

impl Scene {
    pub fn new() -> Result<Self> {
        let scene = Self {
            server: Netns::new()?,
            clients: [Netns::new()?, Netns::new()?],
            group: Cgroup::new()?,
            place: Place::new()?,
        };
        for (link, client) in scene.clients.iter().enumerate() {
            let (near, far) = (format!("s{link}"), format!("c{link}"));
            scene.server.link(&near, client, &far)?;
            for family in FAMILIES {
                scene.server.address(&near, family.address(link, 1), family.prefix())?;
                client.address(&far, family.address(link, 2), family.prefix())?;
            }
        }
        Ok(scene)
    }

    pub fn agent(&self, mode: Mode, interfaces: &[&'static str], limit: &str) -> Result<Agent<'_>> {
        self.agent_attached("auto", mode, interfaces, limit)
    }

    /// The same, with the packet program attached in some way.
    pub fn agent_attached(
        &self,
        attach: &str,
        mode: Mode,
        interfaces: &[&'static str],
        limit: &str,
    ) -> Result<Agent<'_>> {
        self.setup(attach, mode, interfaces, limit).start()
    }

    /// Such an agent, not started.
    pub fn setup(&self, attach: &str, mode: Mode, interfaces: &[&'static str], limit: &str) -> Setup<'_> {
        let packets =
            if attach == "auto" { String::new() } else { format!("[packets]\nattach = \"{attach}\"\n") };
        let rule = format!("{packets}[[rate_limit]]\nname = \"flood\"\nports = [{PORT}]\n{limit}\n");
        Setup::new(mode, &self.group).within(&self.server).interfaces(interfaces).rules(&rule)
    }

    /// Counts datagrams at the port over one family.
    pub fn tally(&self, family: Family) -> Result<Running> {
        let listen = format!("{}:{PORT}", family.any());
        let tally = Program::probe()?.arg("tally").with("listen", listen).with("window", WINDOW.to_string());
        let mut tally = tally.within(&self.server)?.start()?;
        tally.json_line(deadline(10.0))?;
        Ok(tally)
    }

    pub fn flood(&self, link: usize, family: Family, how: &[(&str, f64)]) -> Result<Program> {
        let to = SocketAddr::new(family.address(link, 1), PORT);
        let flood = Program::probe()?.arg("flood").with("to", to.to_string());
        let flood = how.iter().fold(flood, |flood, (key, value)| flood.with(key, value.to_string()));
        flood.within(&self.clients[link])
    }
}

/// Counts of a source in what the server's tally says.
pub fn received(counts: &Value, family: Family, link: usize, what: &str) -> Result<f64> {
    ensure!(counts["overflow"] == 0, "the server's socket was full: {counts}");
    let source = &counts["sources"][family.address(link, 2).to_string()];
    Ok(source[what].as_f64().unwrap_or(0.0))
}

/// What became of a flood on link 0 and a calm client on link 1, side by side.
pub struct Seen {
    pub sent: f64,
    pub flood_in_window: f64,
    pub flood_total: f64,
    pub calm: f64,
    pub calm_sent: f64,
}

pub fn flood_beside_calm(scene: &Scene, family: Family, flood: &[(&str, f64)], seconds: f64) -> Result<Seen> {
    let tally = scene.tally(family)?;
    let calm_sent = 50.0 * seconds;
    let calm = scene.flood(1, family, &[("count", calm_sent), ("rate", 50.0)])?.start()?;
    let flood = scene.flood(0, family, flood)?.start()?;
    let patience = deadline(seconds + 30.0);
    let flood = flood.finish(patience)?.json()?;
    assert_eq!(calm.finish(patience)?.json()?, json!({ "ok": calm_sent as u64 }), "the calm client");
    let counts = tally.finish(deadline(30.0))?.json()?;
    Ok(Seen {
        sent: flood["ok"].as_f64().unwrap_or_default(),
        flood_in_window: received(&counts, family, 0, "in_window")?,
        flood_total: received(&counts, family, 0, "total")?,
        calm: received(&counts, family, 1, "total")?,
        calm_sent,
    })
}
