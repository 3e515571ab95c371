//! What keeps a link alive is never dropped.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use tests::{
    frames::{Ends, IPV6, wire::Wire},
    wait::deadline,
};

use super::{
    WAYS,
    stage::{PORT, Stage, address},
};

/// Questions of each kind.
const QUESTIONS: usize = 50;
const ARP: u16 = 0x0806;
const ICMP6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

#[test]
fn neighbours_find_each_other_under_the_strictest_rule() -> Result<()> {
    const STRICT: &str = "[[rate_limit]]\nname = \"everything\"\nports = [\"1-65535\"]\nper = \"rule\"\n\
         packets = \"1/h\"\nburst = 1\n";
    for way in WAYS {
        let stage = Stage::new()?;
        let agent = stage.agent(way, "1/h", STRICT)?;
        let wire = stage.wire()?;
        let tally = stage.tally(false)?;
        let ends = stage.ends(&wire, address(false, 2));
        for _ in 0..200 {
            wire.send(&ends.plain(&ends.ip(17, &ends.udp(b"flood")?)?))?;
        }
        for v6 in [false, true] {
            let ends = stage.ends(&wire, address(v6, 2));
            let question = if v6 { solicitation(&ends)? } else { request(&ends) };
            for number in 0..QUESTIONS {
                wire.send(&question)?;
                ensure!(is_answered(&wire, &ends)?, "{way}: question {number} (IPv6 {v6}) wasn't answered");
            }
        }
        let counts = tally.finish(deadline(10.0))?.json()?;
        let arrived = counts["sources"][address(false, 2).to_string()]["total"].as_u64().unwrap_or(0);
        ensure!(arrived <= 1, "{way}: the rule on port {PORT} let {arrived} datagrams through");
        agent.stop()?;
    }
    Ok(())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Who has the server's address (RFC 826)?
fn request(ends: &Ends) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(ends.from_mac);
    packet.extend(octets(ends.from));
    packet.extend([0; 6]);
    packet.extend(octets(ends.to));
    ends.ethernet(&[], ARP, &packet)
}

/// The same for IPv6 (RFC 4861, section 4.3).
fn solicitation(ends: &Ends) -> Result<Vec<u8>> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(octets(ends.to));
    message.extend([1, 1]);
    message.extend(ends.from_mac);
    let mut sum = [octets(ends.from), octets(ends.to), message.clone()].concat();
    sum.extend([0, message.len() as u8, 0, ICMP6]);
    message[2..4].copy_from_slice(&checksum(&sum).to_be_bytes());
    Ok(ends.plain(&ends.ipv6(ICMP6, &message)?))
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether the server says that it has the address.
fn is_answered(wire: &Wire, ends: &Ends) -> Result<bool> {
    let patience = deadline(5.0);
    let kind = |frame: &[u8]| match frame.get(12..14) {
        Some([0x08, 0x06]) => ends.to.is_ipv4() && frame.get(20..22) == Some(&[0, 2]),
        Some(kind) if kind == IPV6.to_be_bytes() => {
            ends.to.is_ipv6() && frame.get(20) == Some(&ICMP6) && frame.get(54) == Some(&ADVERTISEMENT)
        }
        _ => false,
    };
    while let Some(frame) = wire.receive(patience)? {
        if kind(&frame) {
            return Ok(true);
        }
    }
    Ok(false)
}
