//! `monitor simulate`: a capture whose outcome can be worked out beforehand is told like that, and nothing else is touched.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    agent,
    capture::{Captured, ETHERNET, SLL2, pcap},
    frames::{Ends, FRAGMENT, IPV4, TCP, UDP, VLAN, fragment},
    netns,
    place::Place,
    program::{Finished, Program},
    wait::deadline,
};

const SECOND: u64 = 1_000_000_000;
/// When captures begin.
const BEGIN: u64 = 1_795_000_000 * SECOND;
const POLICY: &str = "mode = \"enforce\"\n[agent]\ninterfaces = []\nprotect = [\"10.0.0.9\"]\n\
    [packets]\nunparsed = \"10/s\"\n\
    [[rate_limit]]\nname = \"datagrams\"\nports = [7000]\nprotocol = \"udp\"\nper = \"source\"\n\
    packets = \"1000/s\"\nburst = 500\n\
    [[rate_limit]]\nname = \"bytes\"\nports = [443]\nprotocol = \"tcp\"\nper = \"source/24\"\nmode = \"observe\"\n\
    bytes = \"100kB/s\"\nburst_bytes = \"100kB\"\n\
    [[rate_limit]]\nname = \"inside\"\nports = [7001]\nprotocol = \"udp\"\nper = \"source\"\n\
    interfaces = [\"wg*\"]\npackets = \"1/h\"\nburst = 1\n";

fn ends(from: [u8; 4], port: u16) -> Ends {
    let (from, to) = (IpAddr::from(from), IpAddr::from([192, 0, 2, 1]));
    Ends { from_mac: [2; 6], to_mac: [4; 6], from, to, port }
}

fn udp(from: [u8; 4], port: u16) -> Result<Vec<u8>> {
    let ends = ends(from, port);
    Ok(ends.plain(&ends.ip(UDP, &ends.udp(b"payload")?)?))
}

fn run(place: &Place, capture: &[u8], arguments: &[&str]) -> Result<Finished> {
    let (policy, file) = (place.join("policy.toml"), place.join("capture.pcap"));
    fs::write(&policy, POLICY)?;
    fs::write(&file, capture)?;
    simulate(&policy, &file, arguments)?.finish(deadline(60.0))
}

fn simulate(policy: &Path, file: &Path, arguments: &[&str]) -> Result<Program> {
    let program = Program::monitor()?.arg("simulate").arg("--policy").arg(policy);
    Ok(program.arg("--pcap").arg(file).args(arguments))
}

fn report(capture: &[u8], arguments: &[&str]) -> Result<Value> {
    let finished = run(&Place::new()?, capture, &[arguments, &["--json"]].concat())?;
    ensure!(finished.status.success(), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout.join("\n")).context("the report")
}

/// A number in a report, by its path; `u64::MAX` if there is none.
fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Ten seconds: a flood of 5,000 packets a second, somebody calm, somebody protected, and what isn't IP.
fn flood() -> Result<Vec<Captured>> {
    let mut packets = Vec::new();
    for index in 0..50_000u64 {
        let time_ns = BEGIN + index * SECOND / 5000;
        packets.push(Captured::whole(time_ns, udp([203, 0, 113, 7], 7000)?));
        if index % 10 == 0 {
            packets.push(Captured::whole(time_ns, udp([198, 51, 100, 1], 7000)?));
            packets.push(Captured::whole(time_ns, udp([198, 51, 100, 1], 9000)?));
        }
        if index % 2 == 0 {
            packets.push(Captured::whole(time_ns, udp([10, 0, 0, 9], 7000)?));
        }
        if index % 1000 == 0 {
            packets.push(Captured::whole(time_ns, ends([0; 4], 0).ethernet(&[], 0x0806, &[0; 28])));
        }
    }
    Ok(packets)
}

#[test]
fn a_flood_is_told_as_it_would_have_been() -> Result<()> {
    let _turn = agent::turn();
    let before = netns::attachments()?;
    let packets = flood()?;
    let count = packets.len() as u64;
    let report = report(&pcap(ETHERNET, packets), &[])?;
    assert_eq!(netns::attachments()?, before, "something was attached");
    assert_eq!(number(&report, "/capture/packets"), count);
    let [passed, dropped, protected] =
        ["passed", "dropped", "protected"].map(|what| number(&report, &format!("/rules/0/{what}/packets")));
    assert_eq!(passed + dropped + protected, 50_000 + 5000 + 25_000, "each packet has one outcome");
    // 500 at once and 1,000 a second of the flood; all 5,000 of the calm one; of the protected one what is within.
    let within = 500 + 1000 * 10;
    assert!(dropped.abs_diff(50_000 - within) <= 2, "{dropped} dropped");
    assert!(protected.abs_diff(25_000 - within) <= 2, "{protected} protected");
    assert_eq!(number(&report, "/total/dropped/packets"), dropped);
    assert_eq!(number(&report, "/total/passed/packets") + dropped, count);
    assert_eq!(number(&report, "/total/no_rule/packets"), 5000);
    assert_eq!(number(&report, "/total/not_ip/packets"), 50);
    assert_eq!(report["rules"][0]["causes"][0]["cause"], "packets");
    assert_eq!(number(&report, "/rules/0/causes/0/packets"), dropped);
    assert_eq!(report["rules"][0]["sources"][0]["source"], "203.0.113.7");
    assert_eq!(report["sources"]["dropped_most"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["sources"]["sent_most"][1]["source"], "10.0.0.9");
    let timeline = report["timeline"]["intervals"].as_array().context("a time line")?;
    assert_eq!((timeline.len(), number(&report, "/timeline/interval_ms")), (20, 500));
    let sum: u64 = timeline.iter().filter_map(|interval| interval["dropped"]["packets"].as_u64()).sum();
    assert_eq!(sum, dropped, "the time line has all of it");
    Ok(())
}

#[test]
fn cut_merged_and_shuffled_packets_count_as_what_they_were() -> Result<()> {
    let _turn = agent::turn();
    let web = |host: u8| ends([192, 0, 2, host], 443);
    let mut packets = Vec::new();
    for index in 0..2u64 {
        // 45 segments in one, of which the headers were kept: 65,000 bytes, and their headers.
        let ends = web(index as u8 + 1);
        let segment = ends.syn(1024, &vec![0; 65_000], |header| (header.syn, header.ack) = (false, true))?;
        let frame = ends.plain(&ends.ip(TCP, &segment)?);
        let length = frame.len();
        packets.push(Captured { time_ns: BEGIN + index, data: frame[..96].to_vec(), length });
    }
    // Earlier than the one before, then by a clock that was set back.
    packets.push(Captured::whole(BEGIN - SECOND / 2, udp([1, 1, 1, 1], 9000)?));
    packets.push(Captured::whole(BEGIN - 3600 * SECOND, udp([1, 1, 1, 1], 9000)?));
    // Too little is left to find ports in it.
    packets.push(Captured { time_ns: BEGIN, data: udp([1, 1, 1, 1], 7000)?[..34].to_vec(), length: 1500 });
    let report = report(&pcap(ETHERNET, packets), &[])?;
    assert_eq!([number(&report, "/capture/merged"), number(&report, "/capture/segments")], [2, 90]);
    assert_eq!([number(&report, "/capture/reordered"), number(&report, "/capture/leaps")], [1, 1]);
    assert_eq!(number(&report, "/capture/cut_headers"), 1);
    assert_eq!(number(&report, "/unparsed/reasons/0/packets"), 1, "{}", report["unparsed"]);
    // Both hosts are of one /24: 100,000 bytes at once, in segments of 1,514.
    assert_eq!(
        number(&report, "/rules/1/passed/packets") + number(&report, "/rules/1/would_drop/packets"),
        90
    );
    assert_eq!(number(&report, "/rules/1/passed/packets"), 66, "{}", report["rules"][1]);
    assert_eq!(report["rules"][1]["sources"][0]["source"], "192.0.2.0/24");
    assert_eq!(number(&report, "/total/would_drop/packets"), 24);
    assert_eq!(number(&report, "/total/dropped/packets"), 0);
    Ok(())
}

#[test]
fn hostile_shapes_are_judged_as_on_an_interface() -> Result<()> {
    let _turn = agent::turn();
    let mut packets = Vec::new();
    for index in 0..100u64 {
        let ends = ends([203, 0, 113, 9], 7000);
        let packet = ends.ip(UDP, &ends.udp(b"x")?)?;
        let tags = vec![(VLAN, 0); 20];
        packets.push(Captured::whole(BEGIN + index, ends.ethernet(&tags, IPV4, &packet)));
        let later = Ends { from: "2001:db8::1".parse()?, to: "2001:db8::2".parse()?, ..ends };
        let later = later.plain(&later.ipv6(FRAGMENT, &fragment(UDP, 1, false, 7))?);
        packets.push(Captured::whole(BEGIN + index, later));
    }
    let report = report(&pcap(ETHERNET, packets), &[])?;
    for (index, reason) in [(1, "too_deep"), (2, "fragment")] {
        let row = &report["unparsed"]["reasons"][index];
        assert_eq!(row["reason"], reason);
        assert_eq!(row["packets"], 100);
        assert_eq!(row["dropped"], 90, "10 at once: {row}");
    }
    Ok(())
}

#[test]
fn the_interface_and_the_direction_are_those_that_are_said() -> Result<()> {
    let _turn = agent::turn();
    let sll2 = |kind: u8| -> Result<Vec<u8>> {
        let header = [8, 0, 0, 0, 0, 0, 0, 2, 0, 1, kind, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        Ok([&header[..], &udp([1, 1, 1, 1], 7001)?[14..]].concat())
    };
    let packets = [(0, 0), (0, 1), (4, 2), (0, 3)];
    let packets: Result<Vec<_>> =
        packets.iter().map(|(kind, time)| Ok(Captured::whole(BEGIN + time, sll2(*kind)?))).collect();
    let file = pcap(SLL2, packets?);
    let drops = |arguments: &[&str]| -> Result<_> {
        let report = report(&file, arguments)?;
        let skipped = report["capture"]["skipped"]
            .as_array()
            .map_or(0, |rows| rows.iter().filter_map(|row| row["packets"].as_u64()).sum::<u64>());
        Ok((number(&report, "/total/dropped/packets"), skipped))
    };
    assert_eq!(drops(&["--interface", "wg0"])?, (2, 1));
    assert_eq!(drops(&["--interface", "eth0"])?, (0, 1));
    assert_eq!(drops(&[])?, (0, 1));
    assert_eq!(drops(&["--interface", "wg0", "--to", "192.0.2.0/24"])?, (2, 1));
    assert_eq!(drops(&["--interface", "wg0", "--to", "192.0.2.2"])?, (0, 4));
    Ok(())
}

#[test]
fn at_its_own_pace_a_capture_takes_as_long_as_it_took() -> Result<()> {
    let _turn = agent::turn();
    let packets: Result<Vec<_>> = (0..400)
        .map(|index| Ok(Captured::whole(BEGIN + index * SECOND / 200, udp([1, 1, 1, 1], 7000)?)))
        .collect();
    let begun = std::time::Instant::now();
    let report = report(&pcap(ETHERNET, packets?), &["--speed", "real"])?;
    assert!(begun.elapsed().as_secs_f64() >= 1.99, "{:?}", begun.elapsed());
    assert_eq!(number(&report, "/rules/0/passed/packets"), 400);
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let _turn = agent::turn();
    let place = Place::new()?;
    let whole = pcap(ETHERNET, [Captured::whole(BEGIN, udp([1, 1, 1, 1], 7000)?)]);
    let short = run(&place, &whole[..whole.len() - 1], &[])?;
    assert!(short.status.success() && short.stdout.join("\n").contains("in the middle of a packet"));
    for (capture, says) in
        [(&b"not a capture at all, but text"[..], "neither pcap nor pcapng"), (&pcap(127, []), "radiotap")]
    {
        let finished = run(&place, capture, &[])?;
        assert!(!finished.status.success() && finished.stderr.contains(says), "{}", finished.stderr);
    }
    fs::write(place.join("none.toml"), "mode = \"enforce\"\n")?;
    let file = place.join("capture.pcap");
    let none = simulate(&place.join("none.toml"), &file, &[])?.finish(deadline(10.0))?;
    assert!(none.stderr.contains("no [[rate_limit]]"), "{}", none.stderr);
    Ok(())
}
