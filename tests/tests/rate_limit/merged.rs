//! Segments that were merged on their way count as what they were.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tests::{agent::Mode, program::Program, wait::deadline};

use super::scene::{Family, PORT, Scene};

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

#[test]
fn merged_segments_count_as_what_they_were_in_every_mode() -> Result<()> {
    for (attach, mode) in [("xdp", "native"), ("tcx", "tcx"), ("tc", "tc"), ("xdp-generic", "generic")] {
        for family in [Family::V4, Family::V6] {
            let ratio = ratio(attach, mode, family)?;
            assert!((ratio - 1.0).abs() <= 0.01, "{attach} {family:?}: counted {ratio} of what was sent");
        }
    }
    Ok(())
}
