//! The harness itself: what its guards make is there, works, and goes away.

use std::{fs, net::IpAddr};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{
    agent, cgroup::Cgroup, kernel::Inventory, netns::Netns, place::Place, program::Program, server::Server,
    wait::deadline,
};

#[test]
fn a_cgroup_holds_what_is_started_in_it_and_goes_away_with_it() -> Result<()> {
    let _turn = agent::turn();
    let before = Inventory::take()?;
    let group = Cgroup::new()?;
    let mut held = Program::probe()?.arg("hold").inside(&group)?.start()?;
    assert_eq!(held.json_line(deadline(10.0))?["pid"], held.pid());
    assert_eq!(group.processes()?, [held.pid()]);
    assert!(!Inventory::take()?.since(&before).is_empty());
    group.remove()?;
    let end = held.finish(deadline(10.0))?;
    assert_eq!(end.status.code(), None, "killed with its cgroup");
    before.wait_until_restored(deadline(10.0))
}

#[test]
fn linked_namespaces_reach_each_other_and_nobody_else() -> Result<()> {
    let place = Place::new()?;
    let (here, there) = (Netns::new()?, Netns::new()?);
    here.link("here", &there, "there")?;
    for (address, peer, prefix) in [("10.91.0.1", "10.91.0.2", 24), ("fd91::1", "fd91::2", 64)] {
        here.address("here", address.parse::<IpAddr>()?, prefix)?;
        there.address("there", peer.parse::<IpAddr>()?, prefix)?;
    }
    let server = Server::start(&place, Some(&there), &["10.91.0.2:0", "[fd91::2]:0"], &["[fd91::2]:0"])?;
    for (to, protocol) in server.tcp().iter().map(|to| (to, "tcp")).chain([(&server.udp()[0], "udp")]) {
        let client = Program::probe()?.arg("connect").with("to", to.to_string()).with("way", protocol);
        let outcome = client.with("count", "5").with("tag", "here").within(&here)?.json(deadline(20.0))?;
        assert_eq!(outcome, json!({ "ok": 5 }), "{to} {protocol}");
    }
    server.wait_for("here", 15, deadline(10.0))?;
    assert_eq!(here.xdp("here")?, None);
    let stranger = Netns::new()?;
    let client = Program::probe()?.arg("connect").with("to", server.tcp()[0].to_string());
    let outcome = client.within(&stranger)?.json(deadline(20.0))?;
    assert_eq!(outcome, json!({ "ENETUNREACH": 1 }));
    Ok(())
}

#[test]
fn programs_report_how_their_children_end() -> Result<()> {
    let place = Place::new()?;
    let spawn = |name: &str| -> Result<_> {
        let program = place.copy(name, name)?;
        let probe = Program::probe()?.arg("spawn").with("program", program).with("count", "20");
        probe.directory(place.path()).json(deadline(20.0))
    };
    assert_eq!(spawn("first")?, json!({ "started": { "ok": 20 }, "ended": { "code 0": 20 }, "made": 20 }));
    assert_eq!(spawn("exit0")?, json!({ "started": { "ok": 20 }, "ended": { "code 0": 20 }, "made": 0 }));
    Ok(())
}

#[test]
fn a_program_can_run_as_nobody() -> Result<()> {
    let place = Place::new()?;
    let probe = place.copy("probe", "probe")?;
    let held = Program::new(probe).arg("hold").user(65534).start()?;
    let status = fs::read_to_string(format!("/proc/{}/status", held.pid()))?;
    let ids = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
    ensure!(ids.split_whitespace().skip(1).all(|id| id == "65534"), "{ids}");
    Ok(())
}
