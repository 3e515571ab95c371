//! Random rate limits and packets: those that `explain` says a packet is charged to, and those that the packet program charges.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use tests::{agent, place::Place, wait::slowdown};

use super::{explain, seeded};

const PORTS: [&str; 4] = ["443", "\"8000-8010\"", "53", "\"1-65535\""];
const ASKED_PORTS: [u16; 6] = [443, 8000, 8005, 8010, 53, 8011];
const PREFIXES: [&str; 8] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3",
    "192.0.2.0/24",
    "0.0.0.0/1",
    "fd00::/8",
    "fd00:1::/64",
    "2000::/3",
];
const SENDERS: [&str; 9] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.9.9.9",
    "192.0.2.7",
    "203.0.113.1",
    "fd00:1::5",
    "fd00:2::5",
    "2001:db8::1",
    "::ffff:10.1.2.3",
];
const INTERFACES: [&str; 4] = ["eth0", "eth*", "wg[0-3]", "{br,lo}0"];
const ASKED_INTERFACES: [&str; 4] = ["eth0", "eth7", "wg2", "br1"];

fn list(random: &mut Rng, of: &[&str], most: usize) -> Vec<String> {
    let mut of: Vec<String> = of.iter().map(|text| (*text).to_owned()).collect();
    random.shuffle(&mut of);
    of.truncate(random.usize(1..=most));
    of
}

/// Up to six rate limits: more may not apply to one packet.
fn policy(random: &mut Rng) -> String {
    let mut text = String::from("mode = \"enforce\"\n[agent]\ninterfaces = [\"*\"]\n");
    if random.bool() {
        let mut protect = list(random, &PREFIXES[1..4], 2);
        protect.push(["tcp/443", "udp/53"][random.usize(..2)].to_owned());
        let _ = writeln!(text, "protect = {protect:?}");
    }
    for number in 0..random.usize(1..=6) {
        let _ = writeln!(text, "[[rate_limit]]\nname = \"r{number}\"");
        let _ = writeln!(text, "ports = [{}]", PORTS[random.usize(..PORTS.len())]);
        let _ = writeln!(text, "protocol = \"{}\"", ["tcp", "udp", "any"][random.usize(..3)]);
        let per = ["source", "rule", "source/24", "source/48"][random.usize(..4)];
        let _ = writeln!(text, "per = \"{per}\"\npackets = \"100/s\"");
        if random.bool() {
            let _ = writeln!(text, "sources = {:?}", list(random, &PREFIXES, 4));
        }
        if random.bool() {
            let _ = writeln!(text, "except = {:?}", list(random, &PREFIXES[1..4], 2));
        }
        if random.u8(..3) == 0 {
            let _ = writeln!(text, "interfaces = {:?}", list(random, &INTERFACES, 2));
        }
        if random.u8(..3) == 0 {
            text.push_str("mode = \"observe\"\n");
        }
    }
    text
}

fn packet(random: &mut Rng) -> Value {
    let mut packet = json!({
        "from": SENDERS[random.usize(..SENDERS.len())],
        "to_port": ASKED_PORTS[random.usize(..ASKED_PORTS.len())],
    });
    packet["protocol"] = ["tcp", "udp"][random.usize(..2)].into();
    if random.u8(..4) > 0 {
        packet["interface"] = ASKED_INTERFACES[random.usize(..ASKED_INTERFACES.len())].into();
    }
    json!({ "packet": packet })
}

#[test]
fn user_space_and_the_kernel_charge_the_same_limits() -> Result<()> {
    let _turn = agent::turn();
    let (policies, each) = if slowdown() > 1.0 { (2, 100) } else { (12, 300) };
    let mut random = seeded()?;
    let place = Place::new()?;
    let config = place.join("policy.toml");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..policies {
        let text = policy(&mut random);
        fs::write(&config, &text)?;
        let packets: Vec<Value> = (0..each).map(|_| packet(&mut random)).collect();
        let here = explain(&place, &config, &packets, false)?;
        let there = explain(&place, &config, &packets, true)?;
        for ((packet, here), there) in packets.iter().zip(&here).zip(&there) {
            assert_eq!(here, there, "{packet}\n{text}");
            let limits = here["limits"].as_array().context("a list")?.len();
            let what =
                if here["protected"] == true { "protected".to_owned() } else { format!("{limits} limits") };
            *counts.entry(what).or_default() += 1;
        }
    }
    println!("{counts:?}");
    for what in ["protected", "0 limits", "1 limits", "2 limits"] {
        ensure!(counts.contains_key(what), "no case with {what}: {counts:?}");
    }
    Ok(())
}
