//! What is timed, and the program that times it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    wait::deadline,
};

/// Seconds within which a block must be done, on a machine that is busy with other things, too.
const BLOCK: f64 = 60.0;
/// Batches that are run and forgotten before a block: caches, branch predictors and the clock of the CPU settle.
const WARM_UP: u32 = 5;

/// One kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Starting a static program of two instructions, and waiting for its end.
    Exec,
    /// The same with an ordinary static program, which has a C library and a language runtime to start.
    ExecOrdinary,
    /// Connecting to a server on the loopback address, and closing: what the client waits for.
    Connect,
    /// The whole life of a connection: the same, and what the server does to accept and close.
    Connection,
}

impl Operation {
    /// All of them, in the order in which a block runs them.
    pub const ALL: [Self; 4] = [Self::Exec, Self::ExecOrdinary, Self::Connect, Self::Connection];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec, two instructions",
            Self::ExecOrdinary => "exec, ordinary program",
            Self::Connect => "connect+close, client",
            Self::Connection => "connect+close, both ends",
        }
    }

    /// The ratio that must not be passed.
    pub fn goal(self) -> f64 {
        match self {
            Self::Exec | Self::ExecOrdinary => 1.02,
            Self::Connect | Self::Connection => 1.03,
        }
    }

    /// Operations that are timed as one: as few as a clock can time, so that a stranger who gets the CPU in between spoils
    /// few batches.
    pub fn size(self) -> u32 {
        match self {
            Self::Exec | Self::ExecOrdinary => 10,
            Self::Connect | Self::Connection => 100,
        }
    }

    /// Batches in a block, of about a tenth of a second.
    pub fn batches(self) -> u32 {
        match self {
            Self::Exec => 200,
            Self::ExecOrdinary | Self::Connect | Self::Connection => 100,
        }
    }
}

/// The time of one operation in a block, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// The median over the batches: what it costs while nothing else happens.
    pub median: f64,
    /// The mean: nothing is left out, be it the agent's or a stranger's doing.
    pub mean: f64,
}

/// A running `pace`, in the scope of the agent.
#[derive(Debug)]
pub struct Pace {
    running: Running,
    /// Its own file.
    pub program: PathBuf,
    /// The file of the program that it starts.
    pub exit0: PathBuf,
    ordinary: PathBuf,
    /// Where its server listens.
    pub server: SocketAddr,
}

impl Pace {
    /// Starts it.
    pub fn start(place: &Place, scope: &Cgroup) -> Result<Self> {
        let [program, exit0, ordinary] = [("pace", "pace"), ("exit0", "exit0"), ("probe", "ordinary")]
            .map(|(name, copy)| place.copy(name, copy));
        let (program, exit0, ordinary) = (program?, exit0?, ordinary?);
        let mut running = Program::new(&program).inside(scope)?.start()?;
        let said = running.json_line(deadline(BLOCK))?;
        let server = said["server"].as_str().context("pace didn't say where its server listens")?;
        Ok(Self { running, program, exit0, ordinary, server: server.parse()? })
    }

    /// Runs a block of operations, after a few that aren't timed.
    pub fn block(&mut self, operation: Operation) -> Result<Block> {
        self.batches(operation, WARM_UP)?;
        let mut ns = self.batches(operation, operation.batches())?;
        ns.sort_by(f64::total_cmp);
        let mean = ns.iter().sum::<f64>() / ns.len() as f64;
        Ok(Block { median: crate::ratio::quantile(&ns, 0.5), mean })
    }

    /// Runs batches of operations; the time of one operation in each, in nanoseconds.
    pub fn batches(&mut self, operation: Operation, batches: u32) -> Result<Vec<f64>> {
        let size = operation.size();
        let command = match operation {
            Operation::Exec => format!("exec {batches} {size} {}", self.exit0.display()),
            Operation::ExecOrdinary => format!("exec {batches} {size} {} exit", self.ordinary.display()),
            Operation::Connect => format!("connect {batches} {size}"),
            Operation::Connection => format!("connection {batches} {size}"),
        };
        self.running.tell(&command)?;
        let said = self.running.json_line(deadline(BLOCK))?;
        let ns = said["ns"].as_array().context("pace didn't say how long it took")?;
        Ok(ns.iter().filter_map(Value::as_f64).map(|ns| ns / f64::from(size)).collect())
    }
}
