//! How exact limits are: what arrived of floods from two CPUs at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tests::{cgroup::Cgroup, interrupt};

use super::{
    stage::{From, Source, Stage, To},
    subject,
};

/// A limit, and how many send.
struct Flood {
    from: From,
    sources: f64,
    per_second: f64,
    burst: f64,
    clock: &'static str,
}

/// At most this share too much or too little.
const GOAL: f64 = 0.01;

/// How often to look what has arrived.
const LOOK: Duration = Duration::from_millis(1);
/// Floods last longer than what is counted of them, by this factor.
const LONGER: f64 = 1.3;

const FLOODS: [Flood; 6] = [
    Flood { from: From::One, sources: 1.0, per_second: 1000.0, burst: 1000.0, clock: "coarse" },
    Flood { from: From::One, sources: 1.0, per_second: 1000.0, burst: 99.0, clock: "exact" },
    Flood { from: From::One, sources: 1.0, per_second: 100_000.0, burst: 100_000.0, clock: "coarse" },
    Flood { from: From::One, sources: 1.0, per_second: 100_000.0, burst: 9900.0, clock: "exact" },
    Flood { from: From::Some, sources: 64.0, per_second: 1000.0, burst: 1000.0, clock: "coarse" },
    Flood { from: From::Some, sources: 64.0, per_second: 1000.0, burst: 99.0, clock: "exact" },
];

/// Floods each limit for some time.
pub fn run(seconds: f64, scope: &Cgroup) -> Result<Vec<Value>> {
    let floods = FLOODS.iter().map(|flood| {
        interrupt::check()?;
        eprintln!("bench: {} within {}/s for {seconds} s", flood.from.name(), flood.per_second);
        one(flood, seconds, scope)
    });
    floods.collect()
}

fn one(flood: &Flood, seconds: f64, scope: &Cgroup) -> Result<Value> {
    let stage = Stage::new()?;
    let Flood { per_second, burst, sources, .. } = flood;
    let at = subject::limited(&stage, scope, *per_second, *burst)?;
    // Both end where the same rule counts them, each on a CPU of its own.
    let links = [stage.source(0, flood.from, To::Server)?, stage.source(1, flood.from, To::Server)?];
    let paces = on_both(&links, |source, cpu| source.pace(cpu))?;
    let counts = paces.map(|pace| (LONGER * seconds * 1e9 / pace) as u32);
    // What that took out of the buckets comes back.
    thread::sleep(Duration::from_secs_f64(burst / per_second));
    let before = stage.arrived()?;
    let (time, arrived) = thread::scope(|threads| {
        let flood = threads.spawn(|| on_both(&links, |source, cpu| source.flood(counts[cpu], cpu)));
        let mut begin = None;
        let seen = loop {
            thread::sleep(LOOK);
            let arrived = stage.arrived()? - before;
            if arrived == 0 {
                continue;
            }
            let time = begin.get_or_insert_with(Instant::now).elapsed();
            if time.as_secs_f64() >= seconds || flood.is_finished() {
                break (time.as_secs_f64(), arrived as f64);
            }
        };
        flood.join().ok().context("the senders panicked")??;
        Ok::<_, anyhow::Error>(seen)
    })?;
    let sent: u64 = counts.into_iter().map(u64::from).sum();
    at.stop()?;
    let due = (per_second * time + burst) * sources;
    Ok(json!({
        "senders": flood.from.name(),
        "per_second": per_second,
        "burst": burst,
        "clock": flood.clock,
        "seconds": time,
        "sent": sent,
        "arrived": arrived,
        "due": due,
        "error": arrived / due - 1.0,
        "goal": GOAL,
    }))
}

/// Does something with both sources at once, each on its own CPU.
fn on_both<T: Send>(
    sources: &[Source<'_>; 2],
    what: impl Fn(&Source<'_>, usize) -> Result<T> + Sync,
) -> Result<[T; 2]> {
    thread::scope(|threads| {
        let other = threads.spawn(|| what(&sources[1], 1));
        let one = what(&sources[0], 0)?;
        Ok([one, other.join().ok().context("a sender panicked")??])
    })
}
