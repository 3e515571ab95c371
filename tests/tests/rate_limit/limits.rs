//! What rate limits are known not to tell apart.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::{Value, json};
use tests::{agent::Mode, wait::deadline};

use super::scene::{Family, Scene};

/// Datagrams that arrived in all.
fn arrived(counts: &Value) -> f64 {
    let sources = counts["sources"].as_object().into_iter().flatten();
    sources.filter_map(|(_, source)| source["total"].as_f64()).sum()
}

/// A /64 has as many addresses as its owner likes: a rule that tells them apart gives each a limit of its own.
#[test]
fn a_longer_prefix_than_64_gives_each_address_of_one_host_a_limit() -> Result<()> {
    const ADDRESSES: u16 = 5;
    const BURST: u64 = 10;
    let scene = Scene::new()?;
    let IpAddr::V6(first) = Family::V6.address(0, 2) else { unreachable!("an IPv6 address") };
    let mut addresses = vec![first];
    for number in 1..ADDRESSES {
        let [a, b, c, d, e, f, g, h] = first.segments();
        let address = Ipv6Addr::new(a, b, c, d, e, f, g, h + 0x100 * number);
        scene.clients[0].address("c0", address.into(), 64)?;
        addresses.push(address);
    }
    for (per, each) in [("source", false), ("source/128", true)] {
        let limit = format!("per = \"{per}\"\npackets = \"1/h\"\nburst = {BURST}");
        let agent = scene.agent(Mode::Enforce, &["s0"], &limit)?;
        let tally = scene.tally(Family::V6)?;
        for address in &addresses {
            let from = SocketAddr::from((*address, 0)).to_string();
            let flood = scene.flood(0, Family::V6, &[("count", 100.0)])?.with("from", from);
            assert_eq!(flood.finish(deadline(20.0))?.json()?, json!({ "ok": 100 }), "{address}");
        }
        let counts = tally.finish(deadline(30.0))?.json()?;
        let expected = if each { BURST * u64::from(ADDRESSES) } else { BURST };
        assert_eq!(arrived(&counts), expected as f64, "per {per}: {counts}");
        agent.stop()?;
    }
    Ok(())
}
