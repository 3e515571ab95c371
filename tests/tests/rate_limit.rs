//! Rate limits: what the server's sockets receive is the oracle.
//!
//! A server namespace with two clients, each in a namespace and on a link of its own. The agent lives with the
//! server and is told of one or both links.

mod fair;
mod limits;
mod merged;
mod reload;
pub mod scene;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode},
    program::Program,
    server::Server,
    wait::{deadline, slowdown},
};

use self::scene::{FAMILIES, Family, PORT, Scene, WINDOW, flood_beside_calm, received};

/// Packets a second in the rules, and as many at once.
const LIMIT: f64 = 1000.0;
const PACKETS: &str = "protocol = \"udp\"\npackets = \"1000/s\"\nburst = 1000";
/// More than the window, so that the flood doesn't end within it.
const LONG: [(&str, f64); 1] = [("seconds", WINDOW + 0.5)];

#[test]
fn a_flood_gets_its_limit_and_nobody_else_is_touched() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let agent = scene.agent(Mode::Enforce, &["s0", "s1"], PACKETS)?;
        let seen = flood_beside_calm(&scene, family, &LONG, WINDOW)?;
        let due = LIMIT * WINDOW + LIMIT;
        let error = seen.flood_in_window / due - 1.0;
        println!(
            "{family:?}: {} sent, {} of {due} arrived ({:+.2} %), calm {} of {}",
            seen.sent,
            seen.flood_in_window,
            error * 100.0,
            seen.calm,
            seen.calm_sent
        );
        assert!(seen.sent > 2.0 * due, "no flood: {} sent", seen.sent);
        assert!(error.abs() <= 0.05, "{} of {due} arrived", seen.flood_in_window);
        assert_eq!(seen.calm, seen.calm_sent, "the calm client lost packets");
        let dropped = [("rule", "flood"), ("verdict", "drop"), ("mode", "enforce")];
        let missing = seen.sent - seen.flood_total;
        agent.wait_for_metric("monitor_packets_total", &dropped, missing, deadline(10.0))?;
        let source = family.address(0, 2);
        let finding = agent.records().wait_for("a finding", deadline(10.0), |record| {
            record["type"] == "finding" && record["rule"] == "flood"
        })?;
        check_finding(&finding, source)?;
        check_attached(&agent, &scene)?;
        agent.stop()?;
        assert_eq!(scene.server.xdp("s0")?, None, "left on the interface");
    }
    Ok(())
}

fn check_finding(finding: &Value, source: IpAddr) -> Result<()> {
    let expected =
        [("rule_kind", "rate_limit"), ("verdict", "drop"), ("mode", "enforce"), ("protocol", "udp")];
    for (key, value) in expected {
        assert_eq!(finding[key], value, "{key} of {finding}");
    }
    assert_eq!(finding["port"], PORT, "{finding}");
    // A v6 source is a network: it may be written with its length.
    let named = finding["source"].as_str().context("no source")?;
    let (address, _) = named.split_once('/').unwrap_or((named, ""));
    let named: IpAddr = address.parse().with_context(|| format!("source {named}"))?;
    let same = match (named, source) {
        (IpAddr::V6(named), IpAddr::V6(source)) => named.octets()[..8] == source.octets()[..8],
        (named, source) => named == source,
    };
    ensure!(same, "the source is {source}: {finding}");
    Ok(())
}

/// The metric names each interface, with the mode the kernel tells.
fn check_attached(agent: &Agent<'_>, scene: &Scene) -> Result<()> {
    let metrics = agent.metrics()?;
    for interface in ["s0", "s1"] {
        let kernel = scene.server.xdp(interface)?.with_context(|| format!("no XDP on {interface}"))?;
        let series = metrics.series("monitor_attach_info");
        let named =
            series.iter().find(|sample| sample.labels.get("interface").is_some_and(|i| i == interface));
        let mode = named.and_then(|sample| sample.labels.get("mode"));
        let mode = mode.with_context(|| format!("no attach_info of {interface}: {series:?}"))?;
        let native = kernel == "Driver";
        ensure!(mode.contains("native") == native, "{interface}: kernel {kernel}, metric {mode}");
    }
    Ok(())
}

#[test]
fn in_observe_mode_all_of_a_flood_arrives_and_is_counted() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let agent = scene.agent(Mode::Observe, &["s0", "s1"], PACKETS)?;
        let flood = [("count", 9000.0), ("rate", 3000.0 / slowdown())];
        let seen = flood_beside_calm(&scene, family, &flood, 3.0)?;
        assert_eq!((seen.flood_total, seen.calm), (9000.0, seen.calm_sent), "{family:?}: not all arrived");
        let labels = [("rule", "flood"), ("verdict", "drop"), ("mode", "observe")];
        let over = agent.metrics()?.sum("monitor_packets_total", &labels);
        println!("{family:?}: {over} of 9000 would have been dropped");
        let enforced =
            agent.metrics()?.sum("monitor_packets_total", &[("rule", "flood"), ("mode", "enforce")]);
        assert_eq!(enforced, 0.0);
        if slowdown() == 1.0 {
            // 9000 in 3 seconds: 1000 at once and 3 times 1000 are within the limit.
            assert!((over / 5000.0 - 1.0).abs() <= 0.05, "{over} would have been dropped");
        }
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn without_an_agent_all_of_a_flood_arrives() -> Result<()> {
    for family in FAMILIES {
        let scene = Scene::new()?;
        let flood = [("count", 9000.0), ("rate", 9000.0 / slowdown())];
        let seen = flood_beside_calm(&scene, family, &flood, 1.0)?;
        assert_eq!((seen.flood_total, seen.calm), (9000.0, seen.calm_sent), "{family:?}");
    }
    Ok(())
}

#[test]
fn an_interface_that_is_not_named_is_not_touched() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.agent(Mode::Enforce, &["s1"], "protocol = \"udp\"\npackets = \"10/s\"\nburst = 10")?;
    assert_eq!(scene.server.xdp("s0")?, None);
    assert!(scene.server.xdp("s1")?.is_some());
    let tally = scene.tally(Family::V4)?;
    for link in [0, 1] {
        let flood = scene.flood(link, Family::V4, &[("count", 2000.0), ("rate", 4000.0 / slowdown())])?;
        flood.json(deadline(30.0))?;
    }
    let counts = tally.finish(deadline(10.0))?.json()?;
    assert_eq!(received(&counts, Family::V4, 0, "total")?, 2000.0, "not named: {counts}");
    assert!(received(&counts, Family::V4, 1, "total")? < 200.0, "named: {counts}");
    let series = agent.metrics()?;
    let named = series.series("monitor_attach_info").into_iter();
    assert!(named.clone().all(|sample| sample.labels.get("interface").is_none_or(|i| i != "s0")));
    agent.stop()?;
    Ok(())
}

/// Connections a second in the rule, and as many at once; attempts a second; seconds.
const CONNECTIONS: f64 = 50.0;
const CONNECTION_BURST: f64 = 20.0;
const ATTEMPTS: f64 = 400.0;
const CALM_ATTEMPTS: f64 = 10.0;
const SECONDS: f64 = 5.0;

/// A flood of connection attempts on link 0 beside a calm client on link 1: how many of the flood's reached the
/// server. All of the calm client's must.
fn attempts_beside_calm(scene: &Scene, family: Family) -> Result<f64> {
    let listen = format!("{}:{PORT}", family.any());
    let server = Server::start(&scene.place, Some(&scene.server), &[&listen], &[])?;
    let attempts = |link: usize, rate: f64| -> Result<Program> {
        let to = SocketAddr::new(family.address(link, 1), PORT);
        let attempt = Program::probe()?.arg("attempt").with("to", to.to_string());
        let attempt = attempt.with("count", (rate * SECONDS).to_string()).with("rate", rate.to_string());
        attempt.within(&scene.clients[link])
    };
    let calm = attempts(1, CALM_ATTEMPTS)?.start()?;
    let flood = attempts(0, ATTEMPTS)?.json(deadline(60.0))?;
    let calm = calm.finish(deadline(60.0))?.json()?;
    let calm_made = (CALM_ATTEMPTS * SECONDS) as u64;
    assert_eq!(calm, json!({ "ok": calm_made }), "the calm client");
    let connected = flood["ok"].as_u64().unwrap_or_default();
    server.wait_for("", connected + calm_made, deadline(20.0))?;
    assert_eq!(
        server.arrived(None)?,
        connected + calm_made,
        "the server's log and the clients disagree: {flood}"
    );
    Ok(connected as f64)
}

#[test]
fn new_connections_have_a_limit_of_their_own() -> Result<()> {
    let limit = format!("protocol = \"tcp\"\nconnections = \"{CONNECTIONS}/s\"\nburst = {CONNECTION_BURST}");
    let made = ATTEMPTS * SECONDS;
    for family in FAMILIES {
        let scene = Scene::new()?;
        assert_eq!(attempts_beside_calm(&scene, family)?, made, "{family:?}: without an agent all arrive");
        for mode in Mode::BOTH {
            let scene = Scene::new()?;
            let agent = scene.agent(mode, &["s0", "s1"], &limit)?;
            let connected = attempts_beside_calm(&scene, family)?;
            let due = CONNECTIONS * SECONDS + CONNECTION_BURST;
            println!("{family:?} {mode:?}: {connected} of {made} connected, {due} are within the limit");
            let over = [("rule", "flood"), ("verdict", "drop"), ("mode", mode.name())];
            let over = agent.metrics()?.sum("monitor_packets_total", &over);
            match mode {
                Mode::Observe => assert_eq!(connected, made, "all arrive in observe mode"),
                // Each dropped packet is one attempt.
                Mode::Enforce => assert_eq!(over, made - connected),
            }
            if slowdown() == 1.0 {
                let within = made - over;
                assert!((within / due - 1.0).abs() <= 0.05, "{within} connections were within {due}");
            }
            ensure!(over > 0.0, "nothing counted as over the limit");
            agent.stop()?;
        }
    }
    Ok(())
}
