//! Names, paths and addresses that others choose, tens of thousands of them: what the agent shows and keeps has a bound.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use tests::{
    agent::{
        Agent, Mode, Setup,
        metrics::{Metrics, Sample},
    },
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::Program,
    wait::deadline,
};

const DISTINCT: u64 = 50_000;
/// Seconds that it takes at most; fewer where all have come before.
const SECONDS: u64 = 20;
/// Paths that a slow machine gets done in that time, at least.
const PATHS: u64 = 1_000;
/// Bytes that the agent may grow by. Nearly all of it is the queue of the file sink, which holds 65,536 events (some 800 bytes each)
/// where the disk is slower than the flood; the goal is 20 MiB.
const GROWTH: u64 = 80 << 20;
/// Sets of labels that one metric may have.
const CAP: usize = 2_048;
/// Series that may be new: reasons and outcomes that were not there before.
const NEW: usize = 60;

fn memory(agent: &Agent) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// What never goes down, by name and labels.
fn counters(metrics: &Metrics) -> HashMap<String, f64> {
    let counts = |sample: &&Sample| {
        ["_total", "_count", "_sum", "_bucket"].iter().any(|end| sample.name.ends_with(end))
    };
    let key = |sample: &Sample| (format!("{}{:?}", sample.name, sample.labels), sample.value);
    metrics.all().iter().filter(counts).map(key).collect()
}

/// Compares a scrape with the one before.
fn rose(before: &mut HashMap<String, f64>, metrics: &Metrics) -> Result<()> {
    let now = counters(metrics);
    for (series, was) in before.iter() {
        let is = now.get(series).with_context(|| format!("{series} is gone"))?;
        ensure!(is >= was, "{series} went down from {was} to {is}");
    }
    *before = now;
    Ok(())
}

#[test]
fn a_flood_of_names_paths_and_sources_stays_within_its_bounds() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let (here, there) = (Netns::new()?, Netns::new()?);
    here.link("here", &there, "there")?;
    let address = |end: u8| IpAddr::from([10, 91, 0, end]);
    here.address("here", address(1), 24)?;
    there.address("there", address(2), 24)?;
    let (program, links) = (place.copy("exit0", "exit0")?, place.directory("links")?);
    let rules = format!(
        "[[exec]]\nname = \"links\"\ndeny = [\"{}/**\"]\naction = \"alert\"\n\
         [[database]]\nname = \"orders\"\nports = [5432]\nclients = []\n\
         [[rate_limit]]\nname = \"web\"\nports = [7000]\npackets = \"1/h\"\nburst = 1\n",
        links.display()
    );
    let setup = Setup::new(Mode::Enforce, &group).rules(&rules).within(&here).interfaces(&["here"]);
    let agent = setup.start()?;
    // What it needs once isn't growth.
    Program::probe()?
        .arg("connect")
        .with("to", "10.91.0.2:5432")
        .within(&here)?
        .inside(&group)?
        .json(deadline(20.0))?;
    let mut before = counters(&agent.metrics()?);
    let (series, grown_from) = (agent.metrics()?.all().len(), memory(&agent)?);
    let flood = Program::probe()?.arg("distinct").with("to", "10.91.0.2:5432").with("program", &program);
    let flood = flood.with("directory", &links).with("count", DISTINCT.to_string());
    let mut flood = flood.with("seconds", SECONDS.to_string()).within(&here)?.inside(&group)?.start()?;
    let forged = Program::probe()?.arg("forge").with("interface", "there").with("kind", "udp");
    let forged = forged.with("to", SocketAddr::new(address(1), 7000).to_string()).with("rate", "10000");
    let forged = forged.with("sources", (4 * DISTINCT).to_string()).with("count", (2 * DISTINCT).to_string());
    let mut forged = forged.within(&there)?.start()?;
    let mut scrapes = 0;
    while flood.runs()? || forged.runs()? {
        rose(&mut before, &agent.metrics()?)?;
        scrapes += 1;
    }
    let done = flood.finish(deadline(60.0))?.json()?;
    let sent = forged.finish(deadline(60.0))?.json()?;
    let of = |what: &str, outcome: &str| done[what][outcome].as_u64().unwrap_or(0);
    assert_eq!(sent["sent"], 2 * DISTINCT, "{sent}");
    let (names, paths) = (of("names", "EPERM"), of("paths", "ok"));
    assert!(names == DISTINCT && paths >= PATHS, "no flood: {done}");
    assert!(scrapes > 3, "{scrapes} scrapes");
    // All of it has arrived, or was counted as lost.
    for (rule, count) in [("orders", names + 1), ("links", paths)] {
        agent.wait_for_metric("monitor_findings_total", &[("rule", rule)], count as f64, deadline(30.0))?;
    }
    let after = agent.metrics()?;
    rose(&mut before, &after)?;
    let mut families: HashMap<&str, usize> = HashMap::new();
    after.all().iter().for_each(|sample| *families.entry(&sample.name).or_default() += 1);
    assert!(families.values().all(|count| *count <= CAP), "{families:?}");
    assert!(after.all().len() <= series + NEW, "{series} series before, {} after", after.all().len());
    let grown = memory(&agent)?.saturating_sub(grown_from);
    println!("{names} names, {paths} paths; {scrapes} scrapes; {grown} bytes more than {grown_from}");
    assert!(grown <= GROWTH, "{grown} bytes more than {grown_from}");
    agent.stop()?;
    Ok(())
}
