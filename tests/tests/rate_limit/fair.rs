//! Who forges addresses takes nothing from those who are known.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tests::{
    agent::Mode,
    program::{Program, Running},
    wait::deadline,
};

use super::scene::{Family, PORT, Scene};

/// Seconds that a flood lasts.
const SECONDS: f64 = 8.0;
/// Questions a second of the honest client; each takes two or three packets.
const RATE: f64 = 100.0;

/// A server that answers, and a client on a link that has a connection to it before anything else happens.
fn conversation(scene: &Scene, link: usize) -> Result<(Running, Running)> {
    let listen = format!("{}:{PORT}", Family::V4.any());
    let mut echo = Program::probe()?.arg("echo").with("listen", listen).within(&scene.server)?.start()?;
    echo.json_line(deadline(10.0))?;
    let to = SocketAddr::new(Family::V4.address(link, 1), PORT);
    let talk = Program::probe()?.arg("talk").with("to", to.to_string()).with("rate", RATE.to_string());
    let mut talk = talk.with("seconds", SECONDS.to_string()).within(&scene.clients[link])?.start()?;
    talk.json_line(deadline(10.0))?;
    Ok((echo, talk))
}

/// Forged frames from a link.
fn forge(scene: &Scene, link: usize, kind: &str, how: &[(&str, String)]) -> Result<Running> {
    let to = SocketAddr::new(Family::V4.address(link, 1), PORT);
    let forge = Program::probe()?.arg("forge").with("interface", format!("c{link}"));
    let forge = forge.with("to", to.to_string()).with("kind", kind).with("seconds", SECONDS.to_string());
    how.iter().fold(forge, |forge, (key, value)| forge.with(key, value)).within(&scene.clients[link])?.start()
}

/// How much of what was due the client had answered.
fn goodput(talk: Running) -> Result<f64> {
    let told = talk.finish(deadline(60.0))?.json()?;
    let due = told["due"].as_f64().context("nothing due")?;
    println!("the client: {told}");
    Ok(told["answered"].as_f64().unwrap_or(0.0) / due)
}

fn sent(forge: Running) -> Result<f64> {
    let told = forge.finish(deadline(60.0))?.json()?;
    println!("forged: {told}");
    told["sent"].as_f64().context("no count")
}

/// Twice as many sources as the table has places, at random and at full speed, beside a source that is over its limit and a
/// client with a connection.
#[test]
fn a_flood_of_ever_new_sources_takes_no_place_of_those_who_have_one() -> Result<()> {
    const SOURCES: u32 = 2 * 131_072;
    const LIMIT: f64 = 1000.0;
    let limit = format!("packets = \"{LIMIT}/s\"\nburst = {LIMIT}");
    let scene = Scene::new()?;
    let agent = scene.agent(Mode::Enforce, &["s0", "s1"], &limit)?;
    let (_echo, talk) = conversation(&scene, 1)?;
    let tally = scene.tally(Family::V4)?;
    // The source that is over its limit is known before the flood begins.
    let seconds = [("seconds", SECONDS)];
    let limited = scene.flood(0, Family::V4, &[("rate", 4.0 * LIMIT), seconds[0]])?.start()?;
    let flood = forge(&scene, 0, "udp", &[("sources", SOURCES.to_string())])?;
    let forged = sent(flood)?;
    assert!(forged > 3.0 * f64::from(SOURCES), "no flood: {forged} sent");
    let offered = limited.finish(deadline(30.0))?.json()?["ok"].as_f64().context("no count")?;
    let good = goodput(talk)?;
    let counts = tally.finish(deadline(30.0))?.json()?;
    let arrived = counts["sources"][Family::V4.address(0, 2).to_string()]["total"].as_f64().unwrap_or(0.0);
    let due = LIMIT * SECONDS + LIMIT;
    println!("{offered} offered by the limited source, {arrived} arrived, {due} are due; goodput {good}");
    assert!(offered > 2.0 * due, "the limited source offered {offered}");
    // One burst more at most, and a second for when it began and ended.
    assert!(arrived <= due + 2.0 * LIMIT, "{arrived} of the limited source arrived");
    assert!(good >= 0.9, "the honest client had {good} of its answers");
    let newcomers = [("rule", "flood"), ("cause", "newcomers")];
    assert!(agent.metrics()?.sum("monitor_packets_over_total", &newcomers) > 0.0, "no newcomer was refused");
    agent.stop()?;
    Ok(())
}

/// Whoever claims a client's address can't cut off the client's connections.
#[test]
fn a_forged_address_does_not_cut_off_the_connections_of_its_owner() -> Result<()> {
    let penalty = "\npenalty = { for = \"1m\", after = 200 }";
    for (kind, more) in [("syn", ""), ("ack", ""), ("udp", ""), ("syn", penalty)] {
        let scene = Scene::new()?;
        // 100 questions are at most 300 packets.
        let limit = format!("packets = \"400/s\"\nburst = 400{more}");
        let agent = scene.agent(Mode::Enforce, &["s0", "s1"], &limit)?;
        let (_echo, talk) = conversation(&scene, 1)?;
        let owner = Family::V4.address(1, 2).to_string();
        let flood = forge(&scene, 0, kind, &[("from", owner), ("rate", "50000".to_owned())])?;
        let forged = sent(flood)?;
        let good = goodput(talk)?;
        let metrics = agent.metrics()?;
        let over = metrics.sum("monitor_packets_over_total", &[("rule", "flood")]);
        let spared = metrics.sum("monitor_packets_spared_total", &[("rule", "flood")]);
        println!("{kind}{more}: {forged} forged, {over} over, {spared} spared, goodput {good}");
        assert!(over > 0.8 * forged, "{over} of {forged} were over");
        assert!(good >= 0.9, "{kind}{more}: the owner had {good} of its answers");
        assert!(spared > 0.0, "no packet was spared");
        agent.stop()?;
    }
    Ok(())
}
