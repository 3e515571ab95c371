//! Whether findings arrive: refused connects at a rate, each written to the agent's file, while somebody scrapes it.
//!
//! What the client met is the oracle of how many there must be; the lines of the file say how many there are.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    program::Program,
    wait::{deadline, eventually},
};

/// The port that nobody may connect to.
const PORT: u16 = 5432;
/// How often the agent is scraped.
const SCRAPE: Duration = Duration::from_millis(500);
/// The kernel's unit in /proc/PID/stat, in seconds (USER_HZ).
const TICK: f64 = 0.01;

/// So many findings a second for so long; what became of them, and what it took.
pub fn run(seconds: u32, rate: u32) -> Result<Value> {
    let (scope, netns) = (Cgroup::new()?, Netns::new()?);
    let rules = format!("[[database]]\nname = \"orders\"\nports = [{PORT}]\nclients = []\n");
    let setup = Setup::new(Mode::Enforce, &scope).rules(&rules).without_events().within(&netns);
    let agent = setup.start()?;
    let count = u64::from(seconds) * u64::from(rate);
    let client = Program::probe()?.arg("attempt").with("to", format!("127.0.0.1:{PORT}"));
    let client = client.with("count", count.to_string()).with("rate", rate.to_string());
    let before = (cpu(agent.pid())?, memory(agent.pid())?);
    let begun = Instant::now();
    let flood = client.within(&netns)?.inside(&scope)?.start()?;
    let ended = AtomicBool::new(false);
    let (outcomes, took, answers) = thread::scope(|scope| -> Result<_> {
        let client = scope.spawn(|| {
            let end = flood.finish(deadline(f64::from(seconds) * 4.0 + 30.0));
            let took = begun.elapsed();
            ended.store(true, Relaxed);
            (end, took)
        });
        let answers = scrape_until(&agent, &ended);
        let (end, took) = client.join().map_err(|_| anyhow!("who waits for the client panicked"))?;
        Ok((end?.json()?, took, answers?))
    })?;
    let refused = outcomes["EPERM"].as_u64().unwrap_or(0);
    ensure!(refused == count, "the client met something else: {outcomes}");
    settled(&agent, count)?;
    let drained = begun.elapsed();
    let after = (cpu(agent.pid())?, memory(agent.pid())?);
    let metrics = agent.metrics()?;
    let losses = ["ring_full", "recursion", "unreadable"];
    let lost = losses.map(|reason| {
        let labels = [("kind", "connect"), ("reason", reason)];
        (reason, metrics.sum("monitor_events_lost_total", &labels))
    });
    let of_sink = metrics.series("monitor_sink_lost_total");
    let of_sink = of_sink.iter().filter(|sample| sample.value > 0.0);
    let of_sink = of_sink.map(|sample| json!({ "labels": sample.labels, "count": sample.value }));
    let of_sink: Vec<Value> = of_sink.collect();
    let file = agent.records().path().to_owned();
    let lines = lines(&file)?;
    let bytes = fs::metadata(&file)?.len();
    agent.stop()?;
    let mut answers = answers;
    answers.sort_by(f64::total_cmp);
    let percentile =
        |share: f64| answers.get((answers.len() as f64 * share) as usize).or(answers.last()).copied();
    Ok(json!({
        "asked_per_second": rate,
        "seconds": took.as_secs_f64(),
        "per_second": count as f64 / took.as_secs_f64(),
        "findings": count,
        "lines": lines,
        "bytes": bytes,
        "lost": lost.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "lost_by_sinks": of_sink,
        "drained_after_seconds": (drained - took).as_secs_f64(),
        "agent_cpu_seconds": after.0 - before.0,
        "agent_cpus": (after.0 - before.0) / drained.as_secs_f64(),
        "memory_before": before.1,
        "memory_after": after.1,
        "scrapes": answers.len(),
        "scrape_ms": { "median": percentile(0.5), "p95": percentile(0.95), "longest": answers.last() },
    }))
}

/// Scrapes again and again; how long each answer took, in milliseconds.
fn scrape_until(agent: &Agent, ended: &AtomicBool) -> Result<Vec<f64>> {
    let mut answers = Vec::new();
    while !ended.load(Relaxed) {
        let begun = Instant::now();
        let (status, _) = agent.get("/metrics")?;
        answers.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(status == 200, "/metrics answered {status}");
        thread::sleep(SCRAPE);
    }
    Ok(answers)
}

/// Waits until the agent has taken everything off the ring, and its sinks have nothing to write any more.
fn settled(agent: &Agent, count: u64) -> Result<()> {
    eventually("that all findings are written or lost", deadline(60.0), || {
        let metrics = agent.metrics()?;
        let told = metrics.sum("monitor_sink_delivered_total", &[])
            + metrics.sum("monitor_sink_lost_total", &[])
            + metrics.sum("monitor_events_lost_total", &[("kind", "connect")]);
        Ok((told >= count as f64).then_some(()))
    })
}

/// Lines of findings in a file.
fn lines(path: &Path) -> Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut line, mut count) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        ensure!(line.ends_with(b"}\n") && line.starts_with(b"{"), "half a line: {}", line.escape_ascii());
        count += 1;
        line.clear();
    }
    Ok(count)
}

/// CPU time of a process until now, in seconds.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(") ").context("no name in stat")?.1;
    // The state is the first word behind the name; utime and stime are the 12th and 13th.
    let ticks: Vec<f64> = after
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("times in stat")?;
    Ok(ticks.iter().sum::<f64>() * TICK)
}

/// Bytes of a process that are in memory.
fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS")?;
    Ok(kib * 1024)
}
