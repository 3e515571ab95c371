//! The books balance: every exec is delivered or counted as lost, also when they come as fast as they can.

use std::{collections::HashMap, fs};

use anyhow::{Context, Result};
use serde_json::json;
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::{deadline, eventually, slowdown},
};

const KIND: [(&str, &str); 1] = [("kind", "exec")];

#[test]
fn every_exec_is_delivered_or_counted_as_lost() -> Result<()> {
    let count: u64 = if slowdown() > 1.0 { 2_000 } else { 50_000 };
    let place = Place::new()?;
    let group = Cgroup::new()?;
    let pids = place.join("pids");
    let exit0 = place.copy("exit0", "exit0")?;
    let agent = Setup::new(Mode::Observe, &group).agent("events_per_cgroup = \"off\"").start()?;
    let storm = Program::probe()?
        .arg("spawn")
        .with("program", exit0)
        .with("count", count.to_string())
        .with("threads", "4")
        .with("pids", &pids)
        .inside(&group)?;
    let storm = storm.finish(deadline(300.0))?;
    assert_eq!(
        storm.json()?,
        json!({ "started": { "ok": count }, "ended": { "code 0": count }, "made": 0 }),
        "the storm itself"
    );
    // The launcher was executed in the cgroup too.
    let made = (count + 1) as f64;
    let seen = eventually("all execs in the agent's books", deadline(60.0), || {
        let metrics = agent.metrics()?;
        let sum = |name: &str| metrics.sum(name, &KIND);
        let (delivered, lost) = (sum("monitor_events_delivered_total"), sum("monitor_events_lost_total"));
        Ok((delivered + lost >= made).then(|| (sum("monitor_events_seen_total"), delivered, lost)))
    });
    let (seen, delivered, lost) = seen.with_context(|| format!("{:?}", agent.metrics()))?;
    let suppressed = agent.metrics()?.sum("monitor_events_suppressed_total", &KIND);
    let sink_lost = agent.metrics()?.sum("monitor_sink_lost_total", &[]);
    let stopped = agent.stop()?;

    let mut own: HashMap<u64, u64> = HashMap::new();
    for line in fs::read_to_string(&pids)?.lines() {
        *own.entry(line.parse()?).or_default() += 1;
    }
    *own.entry(u64::from(storm.pid)).or_default() += 1;
    let (mut lines, mut strangers) = (0_u64, Vec::new());
    stopped.records().for_each(|record| {
        if record["type"] == "event" && record["kind"] == "exec" {
            lines += 1;
            // A pid may come again: each exec takes one of its uses.
            match own.get_mut(&record["pid"].as_u64().unwrap_or_default()) {
                Some(left @ 1..) => *left -= 1,
                _ => strangers.push(record),
            }
        }
    })?;
    println!("{made} execs: {seen} seen, {delivered} delivered, {lost} lost, {lines} lines");
    assert_eq!((seen, delivered + lost, suppressed), (made, made, 0.0));
    assert_eq!(strangers.len(), 0, "{:?}", strangers.first());
    let missing = delivered - lines as f64;
    assert!(
        (0.0..=sink_lost).contains(&missing),
        "{missing} lines missing, the sink counts {sink_lost} as lost"
    );
    Ok(())
}
