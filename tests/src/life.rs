//! A process that is led through a life by its lines (`probe obey`).

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    program::{Finished, Program, Running},
    wait::deadline,
};

/// Seconds within which it answers.
const PATIENCE: f64 = 20.0;

/// A running `probe obey`, or whatever became of it; dropping it kills its first process, and closing its standard input ends
/// the others.
#[derive(Debug)]
pub struct Life {
    running: Running,
    pid: u32,
}

impl Life {
    /// Starts a copy of `probe`.
    ///
    /// # Errors
    /// When it doesn't say its pid in time.
    pub fn start(program: Program) -> Result<Self> {
        let mut running = program.arg("obey").start()?;
        running.json_line(deadline(PATIENCE))?;
        Ok(Self { pid: running.pid(), running })
    }

    /// Who obeys now.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it carry out a command and returns what came of it.
    ///
    /// # Errors
    /// When it ends or doesn't answer in time.
    pub fn tell(&mut self, line: &str) -> Result<Value> {
        if let Err(error) = self.running.tell(line) {
            let said = self.running.kill_and_tell();
            return Err(error.context(format!("{line}; it said before: {said}")));
        }
        let answer = self.running.json_line(deadline(PATIENCE)).with_context(|| line.to_owned())?;
        if let Some(pid) = answer["pid"].as_u64() {
            self.pid = u32::try_from(pid)?;
        }
        Ok(answer)
    }

    /// Lets it carry out a command after which it doesn't obey any more, and waits for its end.
    ///
    /// # Errors
    /// When it isn't done in time.
    pub fn tell_last(mut self, line: &str) -> Result<Finished> {
        self.running.tell(line)?;
        self.finish()
    }

    /// Lets it connect to each address once and returns the outcomes in the same order.
    ///
    /// # Errors
    /// As [`Life::tell`].
    pub fn reach(&mut self, to: &[SocketAddr], tag: &str) -> Result<Vec<String>> {
        let list: Vec<String> = to.iter().map(SocketAddr::to_string).collect();
        let answer = self.tell(&format!("reach tag={tag} to={}", list.join(",")))?;
        serde_json::from_value(answer).context("a list of outcomes")
    }

    /// Lets it end and waits for that.
    ///
    /// # Errors
    /// When it isn't done in time.
    pub fn finish(self) -> Result<Finished> {
        self.running.finish(deadline(PATIENCE))
    }
}
