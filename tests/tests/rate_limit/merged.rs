//! Segments that were merged on their way count as what they were.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{agent::Mode, program::Program, wait::deadline};

use super::scene::{FAMILIES, Family, PORT, Scene};

/// Ways to attach, and what metrics call them.
const MODES: [(&str, &str); 4] =
    [("xdp", "native"), ("tcx", "tcx"), ("tc", "tc"), ("xdp-generic", "generic")];
/// Bytes that are sent: with 1,448 in a segment, 46,000 of them.
const BYTES: u64 = 64 << 20;

/// How an agent counts a bulk transfer, as a ratio to what the sender's kernel says that it sent.
fn ratio(attach: &str, mode: &str, family: Family) -> Result<f64> {
    let scene = Scene::new()?;
    // Never over.
    let limit = "protocol = \"tcp\"\npackets = \"10000000/s\"\nburst = 10000000";
    let agent = scene.agent_attached(attach, Mode::Enforce, &["s0"], limit)?;
    assert_eq!(agent.metrics()?.sum("monitor_attach_info", &[("interface", "s0"), ("mode", mode)]), 1.0);
    let listen = format!("{}:{PORT}", family.any());
    let mut sink = Program::probe()?.arg("sink").with("listen", listen).within(&scene.server)?.start()?;
    sink.json_line(deadline(10.0))?;
    let to = SocketAddr::new(family.address(0, 1), PORT);
    let bulk = Program::probe()?.arg("bulk").with("to", to.to_string()).with("bytes", BYTES.to_string());
    let told = bulk.within(&scene.clients[0])?.json(deadline(60.0))?;
    let sent = told["segments"].as_f64().context("no segments")?;
    let counted = agent.metrics()?.sum("monitor_packets_total", &[("rule", "flood")]);
    println!("{attach} {family:?}: {told}, counted {counted}");
    agent.stop()?;
    Ok(counted / sent)
}

/// Datagrams of a packet, packets, and bytes of a datagram.
const DATAGRAMS: u64 = 40;
const PACKETS: u64 = 500;
const SIZE: u64 = 1000;

/// The same of datagrams that the sender's kernel is given as packets of 40.
fn ratio_of_datagrams(attach: &str, mode: &str, family: Family) -> Result<f64> {
    let scene = Scene::new()?;
    // Never over.
    let limit = "protocol = \"udp\"\npackets = \"10000000/s\"\nburst = 10000000";
    let agent = scene.agent_attached(attach, Mode::Enforce, &["s0"], limit)?;
    assert_eq!(agent.metrics()?.sum("monitor_attach_info", &[("interface", "s0"), ("mode", mode)]), 1.0);
    let tally = scene.tally(family)?;
    let how = [("count", PACKETS), ("merged", DATAGRAMS), ("size", SIZE), ("rate", 2000)];
    let told = scene.flood(0, family, &how.map(|(key, value)| (key, value as f64)))?.json(deadline(60.0))?;
    assert_eq!(told["ok"], PACKETS, "{told}");
    // Each of them is a datagram where it ends.
    let sent = (PACKETS * DATAGRAMS) as f64;
    let arrived = received(&tally.finish(deadline(60.0))?.json()?);
    let counted = agent.metrics()?.sum("monitor_packets_total", &[("rule", "flood")]);
    println!("{attach} {family:?}: {arrived} of {sent} arrived, counted {counted}");
    assert!((arrived / sent - 1.0).abs() <= 0.01, "{arrived} of {sent} arrived");
    agent.stop()?;
    Ok(counted / sent)
}

/// How many datagrams a tally had, those that didn't fit in its socket included.
fn received(tally: &Value) -> f64 {
    let sources = tally["sources"].as_object().into_iter().flat_map(|sources| sources.values());
    sources.filter_map(|source| source["total"].as_f64()).sum::<f64>()
        + tally["overflow"].as_f64().unwrap_or(0.0)
}

#[test]
fn merged_datagrams_count_as_what_they_were_in_every_mode() -> Result<()> {
    for (attach, mode) in MODES {
        for family in FAMILIES {
            let ratio = ratio_of_datagrams(attach, mode, family)?;
            assert!((ratio - 1.0).abs() <= 0.01, "{attach} {family:?}: counted {ratio} of what was sent");
        }
    }
    Ok(())
}

#[test]
fn merged_segments_count_as_what_they_were_in_every_mode() -> Result<()> {
    for (attach, mode) in MODES {
        for family in FAMILIES {
            let ratio = ratio(attach, mode, family)?;
            assert!((ratio - 1.0).abs() <= 0.01, "{attach} {family:?}: counted {ratio} of what was sent");
        }
    }
    Ok(())
}
