//! A server whose log is the oracle: what it didn't note did not arrive.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::{Deadline, deadline, eventually},
};

/// Seconds until a server must listen.
const START: f64 = 10.0;

/// A running `probe serve`; outside of every scope, unless it was put into one.
#[derive(Debug)]
pub struct Server {
    running: Running,
    log: PathBuf,
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
}

impl Server {
    /// Starts a server and waits until it listens on these addresses; port 0 takes a free one.
    ///
    /// # Errors
    /// When it doesn't listen in time.
    pub fn start(place: &Place, netns: Option<&Netns>, tcp: &[&str], udp: &[&str]) -> Result<Self> {
        let mut program = Program::probe()?;
        if let Some(netns) = netns {
            program = program.within(netns)?;
        }
        Self::run(program, place, tcp, udp, &[])
    }

    /// As [`Server::start`], with a copy of `probe` and more options of `serve`.
    ///
    /// # Errors
    /// When it doesn't listen in time.
    pub fn run(
        program: Program,
        place: &Place,
        tcp: &[&str],
        udp: &[&str],
        options: &[(&str, &str)],
    ) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let log = place.join(format!("arrived-{}.jsonl", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let mut program = program.arg("serve").with("log", &log);
        for (key, value) in options {
            program = program.with(key, value);
        }
        for (key, addresses) in [("tcp", tcp), ("udp", udp)] {
            if !addresses.is_empty() {
                program = program.with(key, addresses.join(","));
            }
        }
        let mut running = program.start()?;
        let bound = running.json_line(deadline(START))?;
        let (tcp, udp) = (addresses(&bound["tcp"])?, addresses(&bound["udp"])?);
        Ok(Self { running, log, tcp, udp })
    }

    /// Where it accepts connections, in the order asked for.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Where it receives datagrams, in the order asked for.
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// All its ports, for a policy.
    pub fn ports(&self) -> Vec<u16> {
        self.tcp.iter().chain(&self.udp).map(SocketAddr::port).collect()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// How many connections and datagrams have arrived whose client said `tag`; of all clients with `None`.
    ///
    /// # Errors
    /// When its log can't be read.
    pub fn arrived(&self, tag: Option<&str>) -> Result<u64> {
        let text = fs::read_to_string(&self.log).context("reading the server's log")?;
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let mut count = 0;
        for line in complete.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("{line:?} in the log"))?;
            count += u64::from(tag.is_none_or(|tag| line["said"] == tag));
        }
        Ok(count)
    }

    /// Waits until this many have arrived from a client.
    ///
    /// # Errors
    /// When they haven't by the deadline, telling how many did.
    pub fn wait_for(&self, tag: &str, count: u64, deadline: Deadline) -> Result<()> {
        let mut last = 0;
        eventually(&format!("{count} arrivals from {tag}"), deadline, || {
            last = self.arrived(Some(tag))?;
            Ok((last >= count).then_some(()))
        })
        .with_context(|| format!("{last} of {count} arrived"))
    }
}

fn addresses(list: &Value) -> Result<Vec<SocketAddr>> {
    let list = list.as_array().context("the server said no addresses")?;
    list.iter()
        .map(|address| address.as_str().unwrap_or_default().parse().context("a server's address"))
        .collect()
}
