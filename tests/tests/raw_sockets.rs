//! Raw and packet sockets: who may see and make packets as they are.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    agent::{Mode, Setup, doctor::security_hooks, turn},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::deadline,
};

/// Kinds of sockets that are judged, of all that the probe opens.
const RAW: [&str; 3] = ["inet raw", "inet raw tcp", "inet6 raw"];
/// The same, where the kernel runs BPF LSM programs.
const PACKET: [&str; 2] = ["packet raw", "packet datagram"];

/// The outcome of each kind of socket, and who asked.
fn raw(program: &std::path::Path, group: &Cgroup) -> Result<(u32, Value)> {
    let end = Program::new(program).arg("raw").inside(group)?.finish(deadline(20.0))?;
    Ok((end.pid, end.json()?))
}

fn check(outcomes: &Value, refused: &[&str], what: &str) -> Result<()> {
    for (kind, outcome) in outcomes.as_object().context("outcomes")? {
        let expected = if refused.contains(&kind.as_str()) { "EPERM" } else { "ok" };
        assert_eq!(outcome, expected, "{kind}, {what}");
    }
    Ok(())
}

#[test]
fn only_those_named_open_raw_sockets() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let (ping, other) = (place.copy("probe", "ping")?, place.copy("probe", "other")?);
    for program in [&ping, &other] {
        check(&raw(program, &group)?.1, &[], "without an agent")?;
    }
    let judged = {
        let _turn = turn();
        if security_hooks()? { [&RAW[..], &PACKET].concat() } else { RAW.to_vec() }
    };
    let hooks = judged.len() > RAW.len();
    if !hooks {
        refused_at_start(&place, &group, &ping)?;
    }
    let degrade = if hooks { "" } else { "degrade = \"observe\"\n" };
    for (action, mode) in [("alert", Mode::Enforce), ("deny", Mode::Observe), ("deny", Mode::Enforce)] {
        let rules = format!(
            "[[workload]]\nname = \"ping\"\nexe = [{ping:?}]\n\n\
             [raw_sockets]\nallow = [\"ping\"]\naction = {action:?}\n{degrade}"
        );
        let agent = Setup::new(mode, &group).rules(&rules).start()?;
        let what = format!("{action}, {mode:?}");
        let (allowed, outcomes) = raw(&ping, &group)?;
        check(&outcomes, &[], &what)?;
        let (pid, outcomes) = raw(&other, &group)?;
        let refused: &[&str] = if (action, mode) == ("deny", Mode::Enforce) { &judged } else { &[] };
        check(&outcomes, refused, &what)?;
        let labels = [("kind", "raw_sockets"), ("verdict", action), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, judged.len() as f64, deadline(10.0))?;
        agent.records().wait_for("a finding", deadline(10.0), |record| {
            record["type"] == "finding" && record["pid"] == pid && record["kind"] == "socket"
        })?;
        let stopped = agent.stop()?;
        let of = |pid: u32| {
            stopped.records().matching(|record| record["type"] == "finding" && record["pid"] == pid)
        };
        assert_eq!(of(pid)?.len(), judged.len(), "{what}");
        assert_eq!(of(allowed)?.len(), 0, "{what}");
    }
    Ok(())
}

/// Without BPF LSM nobody can refuse packet sockets: an agent that is told to doesn't start, and says why.
fn refused_at_start(place: &Place, group: &Cgroup, ping: &std::path::Path) -> Result<()> {
    let rules = format!(
        "[[workload]]\nname = \"ping\"\nexe = [{ping:?}]\n\n[raw_sockets]\nallow = [\"ping\"]\naction = \"deny\"\n"
    );
    let _turn = turn();
    let setup = Setup::new(Mode::Enforce, group).rules(&rules);
    let end = setup.program(place, &place.join("run of agent"))?.finish(deadline(30.0))?;
    assert_eq!(end.status.code(), Some(1), "{}", end.stderr);
    for word in ["raw_sockets", "packet sockets", "LSM", "degrade"] {
        assert!(end.stderr.contains(word), "the message doesn't name {word:?}:\n{}", end.stderr);
    }
    Ok(())
}
