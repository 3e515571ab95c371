//! Requests for connections in odd shapes: each that the server answers was charged.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use anyhow::Result;
use tests::{
    frames::{DESTINATION, Ends, FRAGMENT, HOP_BY_HOP, TCP, V4, VLAN, behind, pieces, wire::Wire},
    server::Server,
    wait::deadline,
};

use super::{
    SLACK, WAYS,
    stage::{PORT, Stage, address},
};

/// Requests of each shape.
const COUNT: u16 = 60;
/// Connections a second of a source, and as many at once.
const RATE: f64 = 5.0;
const BURST: f64 = 10.0;

/// How the frames of a request are made, given the port it comes from.
type Make = fn(&Ends, u16) -> Result<Vec<Vec<u8>>>;

/// Name, whether every kernel answers, and how it is made.
const V4_SHAPES: &[(&str, bool, Make)] = &[
    ("plain", true, |ends, from| plain(ends, &ends.syn(from, b"", |_| {})?)),
    ("two priority tags", true, |ends, from| {
        let packet = ends.ip(TCP, &ends.syn(from, b"", |_| {})?)?;
        Ok(vec![ends.ethernet(&[(VLAN, 0); 2], 0x0800, &packet)])
    }),
    ("options of the network", true, |ends, from| {
        let says = V4 { protocol: TCP, options: vec![1; 40], ..V4::default() };
        Ok(vec![ends.plain(&ends.ipv4(&says, &ends.syn(from, b"", |_| {})?)?)])
    }),
    ("data", true, |ends, from| plain(ends, &ends.syn(from, b"more than nothing", |_| {})?)),
    ("congestion flags", true, |ends, from| {
        plain(ends, &ends.syn(from, b"", |header| (header.ece, header.cwr) = (true, true))?)
    }),
    ("urgent and pushed", true, |ends, from| {
        plain(ends, &ends.syn(from, b"", |header| (header.urg, header.psh) = (true, true))?)
    }),
    ("and its end", false, |ends, from| plain(ends, &ends.syn(from, b"", |header| header.fin = true)?)),
    ("flags in the second fragment", false, |ends, from| {
        let segment = ends.syn(from, b"and some data behind", |_| {})?;
        let frame = |(offset, more, piece): (u16, bool, &[u8])| {
            let says = V4 { protocol: TCP, id: from, offset, more, ..V4::default() };
            Ok(ends.plain(&ends.ipv4(&says, piece)?))
        };
        pieces(&segment, 8)?.into_iter().map(frame).collect()
    }),
];

/// The same for IPv6.
const V6_SHAPES: &[(&str, bool, Make)] = &[
    ("plain", true, |ends, from| plain(ends, &ends.syn(from, b"", |_| {})?)),
    ("behind headers", true, |ends, from| {
        let segment = ends.syn(from, b"", |_| {})?;
        let (next, bytes) = behind(&[HOP_BY_HOP, DESTINATION, FRAGMENT], TCP, &segment)?;
        Ok(vec![ends.plain(&ends.ipv6(next, &bytes)?)])
    }),
    ("behind 60 headers", true, |ends, from| {
        let (next, bytes) = behind(&[DESTINATION; 60], TCP, &ends.syn(from, b"", |_| {})?)?;
        Ok(vec![ends.plain(&ends.ipv6(next, &bytes)?)])
    }),
];

fn plain(ends: &Ends, segment: &[u8]) -> Result<Vec<Vec<u8>>> {
    Ok(vec![ends.plain(&ends.ip(TCP, segment)?)])
}

#[test]
fn whatever_the_stack_answers_counts_as_a_connection() -> Result<()> {
    let rules = format!(
        "[[rate_limit]]\nname = \"port\"\nports = [{PORT}]\nprotocol = \"tcp\"\nper = \"source\"\n\
         connections = \"{RATE}/s\"\nburst = {BURST}\n"
    );
    for (v6, shapes) in [(false, V4_SHAPES), (true, V6_SHAPES)] {
        let control = requests(&Stage::new()?, v6, shapes)?;
        for ((name, answered, _), (answers, _)) in shapes.iter().zip(&control) {
            let all = f64::from(COUNT);
            assert!(!answered || *answers == all, "without an agent, IPv6 {v6}: {name}: {answers} of {all}");
        }
        for way in WAYS {
            let stage = Stage::new()?;
            // Later fragments are not what is tried here.
            let agent = stage.agent(way, "10000/s", &rules)?;
            let seen = requests(&stage, v6, shapes)?;
            for (((name, ..), (before, _)), (answers, seconds)) in shapes.iter().zip(&control).zip(&seen) {
                let most = (BURST + RATE * (seconds + SLACK) + 1.0).min(*before);
                println!("{way}, IPv6 {v6}, {name}: {before}, then {answers} of {most:.0}");
                assert!(*answers <= most, "{way}: {name}: {answers} answers, {most:.1} may be");
                assert!(*before == 0.0 || *answers >= BURST, "{way}: {name}: only {answers} answers");
            }
            agent.stop()?;
        }
    }
    Ok(())
}

/// Sends requests of each shape, each shape from an address of its own; for each how many were answered, and how many
/// seconds it took to send them.
fn requests(stage: &Stage, v6: bool, shapes: &[(&str, bool, Make)]) -> Result<Vec<(f64, f64)>> {
    let any = if v6 { "[::]" } else { "0.0.0.0" };
    let listen = format!("{any}:{PORT}");
    let _server = Server::start(&stage.place, Some(&stage.server), &[&listen], &[])?;
    let wire = stage.wire()?;
    let sources: Vec<IpAddr> = (0x200..).take(shapes.len()).map(|end| address(v6, end)).collect();
    let mut took = Vec::new();
    let mut answers: BTreeMap<IpAddr, BTreeSet<[u8; 2]>> = BTreeMap::new();
    for ((_, _, make), source) in shapes.iter().zip(&sources) {
        // So that the server finds a way back.
        stage.client.address("c0", *source, if v6 { 48 } else { 16 })?;
        let ends = stage.ends(&wire, *source);
        let begun = Instant::now();
        for number in 0..COUNT {
            for frame in make(&ends, 20_000 + number)? {
                wire.send(&frame)?;
            }
        }
        took.push(begun.elapsed().as_secs_f64());
        collect(&wire, &ends, &mut answers)?;
    }
    let count = |source| answers.get(source).map_or(0, BTreeSet::len) as f64;
    Ok(sources.iter().map(count).zip(took).collect())
}

/// Collects the answers (SYN and ACK) until there are as many as requests, or none came for a while: by the port they are
/// to, since an answer may be repeated.
fn collect(wire: &Wire, ends: &Ends, answers: &mut BTreeMap<IpAddr, BTreeSet<[u8; 2]>>) -> Result<()> {
    const SILENCE: f64 = 0.3;
    const SYN_ACK: u8 = 0x12;
    let (at, protocol, to) = if ends.to.is_ipv4() { (34, 23, 30..34) } else { (54, 20, 38..54) };
    let mine = match ends.from {
        IpAddr::V4(from) => from.octets().to_vec(),
        IpAddr::V6(from) => from.octets().to_vec(),
    };
    let ports = answers.entry(ends.from).or_default();
    while ports.len() < usize::from(COUNT) {
        let Some(frame) = wire.receive(deadline(SILENCE))? else { break };
        let answer = frame.get(protocol) == Some(&TCP)
            && frame.get(to.clone()) == Some(&mine[..])
            && frame.get(at..at + 2) == Some(&PORT.to_be_bytes())
            && frame.get(at + 13).is_some_and(|flags| flags & SYN_ACK == SYN_ACK);
        if let (true, Some([high, low])) = (answer, frame.get(at + 2..at + 4)) {
            ports.insert([*high, *low]);
        }
    }
    Ok(())
}
