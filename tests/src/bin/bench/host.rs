//! What else the machine does while it measures.

use std::{fs, thread, time::Instant};

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use serde_json::{Value, json};
use tests::cgroup::Cgroup;

/// The kernel's unit in /proc/stat, in seconds (USER_HZ).
const TICK: f64 = 0.01;

/// CPU time until now, in seconds.
#[derive(Debug, Clone, Copy)]
struct Clock {
    at: Instant,
    /// Of all processes.
    all: f64,
    /// Taken by other guests of the machine that this one runs on.
    stolen: f64,
    /// Of the operations that are timed.
    ours: f64,
}

impl Clock {
    fn read(scope: &Cgroup) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let first = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        let column = |index: usize| ticks.get(index).copied().unwrap_or_default() * TICK;
        let usage =
            fs::read_to_string(scope.path().join("cpu.stat")).context("reading cpu.stat of the cgroup")?;
        let usage = usage.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<f64>().ok());
        // user, nice, system; interrupts are mostly the work of the operations.
        let all = column(0) + column(1) + column(2);
        Ok(Self { at: Instant::now(), all, stolen: column(7), ours: usage.unwrap_or_default() / 1e6 })
    }
}

/// What others did during the blocks without anything beside them.
#[derive(Debug, Default)]
pub struct Others {
    /// The most kernel programs that were loaded: another agent's are in every time.
    programs: usize,
    others: f64,
    stolen: f64,
    possible: f64,
}

impl Others {
    /// Runs a block and looks who else ran.
    pub fn watch<T>(&mut self, scope: &Cgroup, block: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Clock::read(scope)?;
        let result = block()?;
        let after = Clock::read(scope)?;
        self.programs = self.programs.max(loaded_programs().flatten().count());
        self.others += (after.all - before.all) - (after.ours - before.ours);
        self.stolen += after.stolen - before.stolen;
        self.possible += (after.at - before.at).as_secs_f64() * cpus() as f64;
        Ok(result)
    }

    /// The host, for the report.
    pub fn report(&self) -> Result<Value> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(json!({
            "kernel": kernel.trim(),
            "cpus": cpus(),
            "load_average": load.split(' ').next().and_then(|word| word.parse::<f64>().ok()),
            "programs_of_others": self.programs,
            "cpu_share_of_others": (self.others / self.possible).max(0.0),
            "cpu_share_stolen": self.stolen / self.possible,
        }))
    }
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}
