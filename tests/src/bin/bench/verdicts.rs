//! What verdicts about execs and connections cost those who execute and connect.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{cgroup::Cgroup, interrupt, place::Place};

use crate::{
    cost,
    host::Others,
    operation::{Block, Operation, Pace},
    policy::{self, DATABASE_RULES, EXEC_RULES, WORKLOADS},
    ratio::quartiles,
    side::Side,
    tracer::Tracer,
};

type Blocks = [Block; Operation::ALL.len()];

/// A block beside something, and the ones without it before and after.
struct Trio {
    side: Side,
    blocks: [Blocks; 3],
}

/// Measures; the report.
pub fn run(rounds: usize) -> Result<Value> {
    ensure!(rounds > 0, "no rounds, no ratios");
    let (place, scope) = (Place::new()?, Cgroup::new()?);
    let mut pace = Pace::start(&place, &scope)?;
    let rules = policy::rules(&place, &pace)?;
    let tracer = Tracer::start(&scope).map(drop);
    let mut sides = Side::ALL.to_vec();
    if let Err(error) = &tracer {
        eprintln!("bench: without an exec tracer to compare with: {error:#}");
        sides.retain(|side| *side != Side::Tracer);
    }
    let (mut others, mut trios) = (Others::default(), Vec::new());
    for round in 0..rounds {
        eprintln!("bench: round {} of {rounds}", round + 1);
        let mut before = others.watch(&scope, || blocks(&mut pace))?;
        for side in &sides {
            interrupt::check()?;
            let beside = side.start(&scope, &rules)?;
            let at = blocks(&mut pace)?;
            beside.stop()?;
            let after = others.watch(&scope, || blocks(&mut pace))?;
            trios.push(Trio { side: *side, blocks: [before, at, after] });
            before = after;
        }
        sides.reverse();
    }
    eprintln!("bench: where the time goes");
    let mut costs = Vec::new();
    for side in sides.iter().filter(|side| **side != Side::Nothing) {
        costs.extend(cost::measure(*side, &scope, &rules, &mut pace)?);
    }
    Ok(json!({
        "benchmark": "verdicts",
        "rounds": rounds,
        "host": others.report()?,
        "policy": { "workloads": WORKLOADS, "exec_rules": EXEC_RULES, "database_rules": DATABASE_RULES },
        "tracer": tracer.err().map_or("execsnoop of libbpf-tools".into(), |error| format!("none: {error:#}")),
        "results": results(&trios),
        "costs": costs,
    }))
}

/// A block of each operation.
fn blocks(pace: &mut Pace) -> Result<Blocks> {
    let [first, second, third, fourth] = Operation::ALL.map(|operation| pace.block(operation));
    Ok([first?, second?, third?, fourth?])
}

fn results(trios: &[Trio]) -> Vec<Value> {
    let mut results = Vec::new();
    for (index, operation) in Operation::ALL.into_iter().enumerate() {
        for side in Side::ALL {
            let blocks = trios.iter().filter(|trio| trio.side == side);
            let blocks: Vec<[Block; 3]> =
                blocks.map(|trio| trio.blocks.map(|blocks| blocks[index])).collect();
            if !blocks.is_empty() {
                results.push(result(operation, side, &blocks));
            }
        }
    }
    results
}

fn result(operation: Operation, side: Side, trios: &[[Block; 3]]) -> Value {
    let over = |of: fn(&[f64; 3]) -> f64, take: fn(&Block) -> f64| {
        quartiles(trios.iter().map(|blocks| of(&blocks.each_ref().map(take))).collect())
    };
    let ratio: fn(&[f64; 3]) -> f64 = |[before, at, after]| at / ((before + after) / 2.0);
    let without: fn(&[f64; 3]) -> f64 = |[before, _, after]| (before + after) / 2.0;
    json!({
        "operation": operation.name(),
        "beside": side.name(),
        "goal": side.has_goal().then(|| operation.goal()),
        "ratio": over(ratio, |block| block.median),
        "ratio_of_means": over(ratio, |block| block.mean),
        "without_ns": over(without, |block| block.median),
        "with_ns": over(|[_, at, _]| *at, |block| block.median),
        "added_ns": over(|[before, at, after]| at - (before + after) / 2.0, |block| block.median),
    })
}
