//! Where the time goes: the kernel programs' own time, and what their process does.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde_json::{Value, json};
use tests::{
    cgroup::Cgroup,
    wait::{deadline, eventually},
};

use crate::{
    operation::{Operation, Pace},
    side::{Beside, Side},
};

/// Runs each operation once more beside something, with the kernel's clocks on, which cost time themselves. Nothing of this is
/// in the ratios.
pub fn measure(side: Side, scope: &Cgroup, rules: &str, pace: &mut Pace) -> Result<Vec<Value>> {
    let beside = side.start(scope, rules)?;
    let clocks = enable_stats(Stats::RunTime).context("letting the kernel time its programs")?;
    let costs = Operation::ALL.map(|operation| one(operation, &beside, pace));
    drop(clocks);
    beside.stop()?;
    let costs: Result<Vec<_>> = costs.into_iter().collect();
    Ok(costs?
        .into_iter()
        .map(|mut cost| {
            cost["beside"] = side.name().into();
            cost
        })
        .collect())
}

fn one(operation: Operation, beside: &Beside, pace: &mut Pace) -> Result<Value> {
    let pid = beside.pid().context("nothing to measure the cost of")?;
    // No more than in a block: the ring of a stopped agent must hold it all.
    let batches = operation.batches();
    pace.batches(operation, 2)?;
    settled(pid)?;
    let before = (programs(pid)?, threads(pid)?);
    pace.batches(operation, batches)?;
    settled(pid)?;
    let after = (programs(pid)?, threads(pid)?);
    let count = f64::from(batches * operation.size());
    let names = names();
    let mut all = 0.0;
    let mut rows = Vec::new();
    for (id, end) in &after.0 {
        let begin = before.0.get(id).copied().unwrap_or_default();
        let (ns, runs) = ((end.ns - begin.ns) as f64, (end.runs - begin.runs) as f64);
        // Programs that run less often than the operation ran for others.
        if runs >= count / 2.0 {
            all += ns / count;
            rows.push(json!({ "name": names.get(id), "runs": runs / count, "ns": ns / runs }));
        }
    }
    let mut cpu = 0.0;
    let mut wakeups = 0.0;
    let mut work = BTreeMap::<&str, f64>::new();
    for (id, end) in &after.1 {
        let begin = before.1.get(id);
        let ns = (end.ns - begin.map_or(0, |begin| begin.ns)) as f64 / count;
        cpu += ns;
        wakeups += (end.switches - begin.map_or(0, |begin| begin.switches)) as f64 / count;
        *work.entry(&end.name).or_default() += ns;
    }
    Ok(json!({
        "operation": operation.name(),
        "operations": count,
        "program_ns": all,
        "programs": rows,
        "process_cpu_ns": cpu,
        "process_wakeups": wakeups,
        "threads_cpu_ns": work,
    }))
}

/// Waits until the process has done what the operations gave it to do: two looks find it where it was.
fn settled(pid: u32) -> Result<()> {
    let mut last = None;
    eventually("a calm process beside the operations", deadline(20.0), || {
        let now: u64 = threads(pid)?.values().map(|thread| thread.ns).sum();
        Ok((last.replace(now) == Some(now)).then_some(()))
    })
}

#[derive(Debug, Clone, Copy, Default)]
struct Runs {
    runs: u64,
    ns: u64,
}

/// What the kernel counted for the programs that a process holds, by id.
fn programs(pid: u32) -> Result<BTreeMap<u32, Runs>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("listing {directory}"))?.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        if let (Some(id), Some(ns), Some(runs)) =
            (value("prog_id:"), value("run_time_ns:"), value("run_cnt:"))
        {
            found.insert(id as u32, Runs { runs, ns });
        }
    }
    Ok(found)
}

fn names() -> BTreeMap<u32, String> {
    let programs = loaded_programs().flatten();
    programs.map(|program| (program.id(), program.name_as_str().unwrap_or("?").to_owned())).collect()
}

#[derive(Debug)]
struct Thread {
    name: String,
    /// On a CPU until now.
    ns: u64,
    /// How often it gave the CPU away to wait for something.
    switches: u64,
}

/// The threads of a process, by id. None where it is this one, which only holds programs: its own work is no cost of them.
fn threads(pid: u32) -> Result<BTreeMap<u32, Thread>> {
    if pid == std::process::id() {
        return Ok(BTreeMap::new());
    }
    let directory = format!("/proc/{pid}/task");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("listing {directory}"))?.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let ns = read("schedstat").split(' ').next().and_then(|word| word.parse().ok());
        let status = read("status");
        let switches = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
        let (ns, switches) = (ns.unwrap_or_default(), switches.unwrap_or_default());
        found.insert(id, Thread { name: read("comm").trim().to_owned(), ns, switches });
    }
    Ok(found)
}
