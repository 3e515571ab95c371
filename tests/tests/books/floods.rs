//! A control group that floods is throttled, and no other.

use anyhow::Result;
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    server::Server,
    wait::{deadline, eventually},
};

use super::connect;

/// Connects of the flood: twice as many events.
const FLOOD: u64 = 20_000;
/// Connects of those who keep within the limit.
const CALM: u64 = 400;
/// Denied connects of those who flood.
const DENIED: u64 = 300;

/// How many events of a kind a process is told to have made.
fn told(agent: &Agent<'_>, kind: &str, pid: u32) -> Result<u64> {
    let of = |record: &Value| record["kind"] == kind && record["pid"] == pid && record["type"] == "event";
    Ok(agent.records().matching(of)?.len() as u64)
}

fn throttled(agent: &Agent<'_>) -> Result<f64> {
    Ok(agent.metrics()?.sum("monitor_events_suppressed_total", &[("reason", "throttled")]))
}

#[test]
fn a_group_that_floods_is_throttled_and_no_other() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let (wild, calm) = (group.below("wild")?, group.below("calm")?);
    let server = Server::start(&place, None, &["127.0.0.1:0"], &["127.0.0.1:0"])?;
    let (denied, open) = (server.tcp()[0], server.udp()[0]);
    let rules = format!("[[database]]\nname = \"orders\"\nports = [{}]\nclients = []\n", denied.port());
    for (limit, is_limited) in [("off", false), ("1000/s", true)] {
        let setup = Setup::new(Mode::Enforce, &group).agent(&format!("events_per_cgroup = {limit:?}"));
        let agent = setup.rules(&rules).start()?;
        let (wild_pid, calm_pid) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let pid = connect(&wild, open, ("udp", FLOOD), "ok")?;
                connect(&wild, denied, ("tcp", DENIED), "EPERM")?;
                anyhow::Ok(pid)
            });
            let calm = connect(&calm, open, ("udp", CALM), "ok")?;
            anyhow::Ok((flood.join().map_err(|_| anyhow::anyhow!("the flood failed"))??, calm))
        })?;
        let books = agent.balanced(deadline(30.0))?;
        // Whoever keeps within the limit is told of in full.
        for kind in ["bind", "connect"] {
            eventually(&format!("each {kind} of the calm group"), deadline(20.0), || {
                Ok((told(&agent, kind, calm_pid)? == CALM).then_some(()))
            })?;
        }
        // And so is each refusal.
        eventually("each refusal", deadline(20.0), || {
            Ok((agent.records().findings("orders")?.len() as u64 == DENIED).then_some(()))
        })?;
        let made = (2 * (FLOOD + CALM) + DENIED) as f64;
        assert_eq!(books["bind"].made() + books["connect"].made(), made, "counted in full");
        let suppressed = throttled(&agent)?;
        if is_limited {
            let lasted = told(&agent, "connect", wild_pid)?;
            assert!(lasted < FLOOD && suppressed > 0.0, "{lasted} of the flood were told, {suppressed} not");
            // A flood may be over before the agent looks; then it is told at the end.
            agent.wait_for_metric("monitor_cgroups_throttled", &[], 0.0, deadline(20.0))?;
        } else {
            assert_eq!(suppressed, 0.0);
        }
        let said = agent.stop()?.stderr;
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("events_per_cgroup")).collect();
        if !is_limited {
            assert_eq!(lines, [""; 0]);
            continue;
        }
        // When it began, when it ended, and how many it were.
        let [.., last] = lines[..] else { anyhow::bail!("nothing was said:\n{said}") };
        assert!(lines.iter().all(|line| line.contains("wild")), "{lines:?}");
        assert!(lines[0].contains("makes more events"), "{lines:?}");
        let counts =
            lines.iter().filter_map(|line| line.split(" s ").nth(1)?.split(' ').next()?.parse::<f64>().ok());
        let counts: f64 = counts.sum();
        assert!(last.contains("keeps within") && counts == suppressed, "{suppressed}: {lines:?}");
    }
    Ok(())
}
