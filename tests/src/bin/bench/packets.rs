//! What a packet costs where it is limited, how exact the limits are, and what an honest client notices.

mod exact;
mod honest;
mod program;
mod stage;
mod subject;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{cgroup::Cgroup, interrupt};

use self::{
    stage::{From, Source, Stage},
    subject::{At, Subject},
};
use crate::{host::Others, ratio::quartiles};

/// How long parts of it take.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often everything is compared.
    pub rounds: usize,
    /// How long each flood is that is counted, seconds.
    pub flood_seconds: f64,
    /// Measure only what has this in its name; `floods` and `client` are the names of these parts.
    pub only: Option<String>,
}

/// Frames in a block.
const BLOCK: u32 = 20_000;
/// Frames before the first block, so that caches are warm; and so that a million sources are over their limit.
const WARM: u32 = 100_000;
const WARM_MILLION: u32 = 8_000_000;

/// One row: something, measured with some senders.
struct Row<'a> {
    subject: Subject,
    from: From,
    source: Source<'a>,
    /// Nanoseconds of a frame by round, and of the floor right before and after.
    blocks: Vec<[f64; 3]>,
}

/// Measures; the report.
pub fn run(plan: &Plan) -> Result<Value> {
    ensure!(plan.rounds > 0, "no rounds, no ratios");
    let scope = Cgroup::new()?;
    let wanted = |subject: &Subject| {
        subject.floor() == *subject || plan.only.as_ref().is_none_or(|only| subject.name().contains(only))
    };
    let subjects: Vec<Subject> = Subject::ALL.into_iter().filter(wanted).collect();
    let stages: Vec<Stage> = subjects.iter().map(|_| Stage::new()).collect::<Result<_>>()?;
    let (mut missing, mut running, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (subject, stage) in subjects.into_iter().zip(&stages) {
        interrupt::check()?;
        eprintln!("bench: starting {}", subject.name());
        match subject.start(stage, &scope) {
            Ok(at) => running.push(at),
            Err(error) if subject.is_peer() => {
                eprintln!("bench: without {}: {error:#}", subject.name());
                missing.push(format!("{}: {error:#}", subject.name()));
                continue;
            }
            Err(error) => return Err(error),
        }
        for from in subject.sources() {
            let source = stage.source(0, *from, subject.to())?;
            source.flood(if *from == From::Million { WARM_MILLION } else { WARM }, cpu())?;
            rows.push(Row { subject, from: *from, source, blocks: Vec::new() });
        }
    }
    let mut others = Others::default();
    for round in 0..plan.rounds {
        interrupt::check()?;
        eprintln!("bench: round {} of {}", round + 1, plan.rounds);
        others.watch(&scope, || measure(&mut rows, round % 2 == 1))?;
    }
    let results: Vec<Value> = rows.iter().map(result).collect();
    let peers = peers(&rows);
    drop(rows);
    running.into_iter().try_for_each(At::stop)?;
    drop(stages);
    let (mut exactness, mut honest) = (Vec::new(), Vec::new());
    let part = |name: &str| plan.only.as_ref().is_none_or(|only| only == name);
    if part("floods") {
        exactness = exact::run(plan.flood_seconds, &scope)?;
    }
    if part("client") {
        honest = honest::run(plan.rounds, cpu(), &scope)?;
    }
    Ok(json!({
        "benchmark": "packets",
        "rounds": plan.rounds,
        "block": BLOCK,
        "host": others.report()?,
        "missing": missing,
        "results": results,
        "peers": peers,
        "exactness": exactness,
        "honest": honest,
    }))
}

/// The CPU that everything happens on: not the one that most interrupts go to.
fn cpu() -> usize {
    std::thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1)
}

/// A block of each, each between two of its floor.
fn measure(rows: &mut [Row<'_>], backwards: bool) -> Result<()> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    if backwards {
        order.reverse();
    }
    for index in order {
        let row = &rows[index];
        let floor = rows.iter().find(|other| other.subject == row.subject.floor() && other.from == row.from);
        let Some(floor) = floor else { continue };
        let before = floor.source.send(BLOCK, cpu())?;
        let at = row.source.send(BLOCK, cpu())?;
        let after = floor.source.send(BLOCK, cpu())?;
        rows[index].blocks.push([before, at, after]);
    }
    Ok(())
}

/// What it adds to its floor.
fn added([before, at, after]: &[f64; 3]) -> f64 {
    at - (before + after) / 2.0
}

fn result(row: &Row<'_>) -> Value {
    let over = |of: fn(&[f64; 3]) -> f64| quartiles(row.blocks.iter().map(of).collect());
    json!({
        "what": row.subject.name(),
        "senders": row.from.name(),
        "floor": row.subject.floor().name(),
        "goal": row.subject.goal(row.from),
        "ns": over(|[_, at, _]| *at),
        "floor_ns": over(|[before, _, after]| (before + after) / 2.0),
        "added_ns": over(added),
        "ratio": over(|[before, at, after]| at / ((before + after) / 2.0)),
    })
}

/// How many times as much others cost as our limiter for one source over its limit, in the same round.
fn peers(rows: &[Row<'_>]) -> Vec<Value> {
    let find = |subject, from| rows.iter().find(|row| row.subject == subject && row.from == from);
    let peers = rows.iter().filter(|row| row.subject.is_peer());
    peers
        .filter_map(|peer| {
            let ours = find(Subject::Over, peer.from)?;
            let pairs = peer.blocks.iter().zip(&ours.blocks);
            Some(json!({
                "what": peer.subject.name(),
                "senders": peer.from.name(),
                "goal": (peer.subject == Subject::NftIngress && peer.from == From::One).then_some(4.0),
                "times": quartiles(pairs.clone().map(|(peer, ours)| peer[1] / ours[1]).collect()),
                "times_added": quartiles(pairs.map(|(peer, ours)| added(peer) / added(ours)).collect()),
            }))
        })
        .collect()
}
