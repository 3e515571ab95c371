//! Sends packets through the packet program, to see which rate limits it charges them to.

use std::net::IpAddr;

use anyhow::Result;
use monitor_common::packet::{Link, TCP, parse};

use crate::{
    agent::simulate::{Counts, Frame, Judge, Outcomes, Simulator, Verdict},
    config::{Config, Limit, Rate, RateLimit},
    policy::ask::packet::Packet,
};

/// Longer than any of the limits below takes to be whole again.
const APART_NS: u64 = 2 * 3600 * 1_000_000_000;

/// The packet program, with the rate limits of a policy in which every limit is one packet an hour.
pub struct PacketEvaluator {
    simulator: Simulator,
    now_ns: u64,
}

/// What the program did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The rules that it was charged to, in file order.
    pub rules: Vec<String>,
    /// Whether a second one was over a limit and passed all the same, because something protects it.
    pub protected: bool,
}

impl PacketEvaluator {
    /// Loads the rate limits of a policy.
    ///
    /// # Errors
    /// What keeps them from the kernel.
    pub fn new(config: &Config) -> Result<Self> {
        let once = Limit { rate: Rate { count: 1, per_ns: APART_NS / 2 }, burst: 1 };
        let plain = |rule: &RateLimit| RateLimit {
            packets: Some(once),
            connections: None,
            bytes: None,
            newcomers: None,
            penalty: None,
            ..rule.clone()
        };
        let rate_limits = config.rate_limits.iter().map(plain).collect();
        let simulator = Simulator::new(&Config { rate_limits, ..config.clone() }, false)?;
        Ok(Self { simulator, now_ns: APART_NS })
    }

    /// Has it judge two of a packet: one that is within every limit, and one that is over all.
    ///
    /// # Errors
    /// If the kernel doesn't run it.
    pub fn ask(&mut self, packet: &Packet) -> Result<Charged> {
        self.now_ns += APART_NS;
        self.simulator.set_interface(packet.interface.as_deref())?;
        let before = self.simulator.counts()?;
        let first = self.send(packet)?;
        let second = self.send(packet)?;
        let all = |outcomes: &Outcomes| {
            let Outcomes { passed, dropped, would_drop, protected, spared } = outcomes;
            [passed, dropped, would_drop, protected, spared].iter().map(|amount| amount.packets).sum::<u64>()
        };
        let rows = self.simulator.rules().iter().zip(before.rules.iter().zip(&first.rules));
        let charged = rows.filter(|(_, (before, after))| all(&before.outcomes) != all(&after.outcomes));
        let passed = first.rules.iter().zip(&second.rules);
        Ok(Charged {
            rules: charged.map(|(rule, _)| rule.name.to_string()).collect(),
            protected: passed
                .clone()
                .any(|(first, second)| first.outcomes.protected != second.outcomes.protected),
        })
    }

    fn send(&mut self, packet: &Packet) -> Result<Counts> {
        let bytes = frame(packet);
        let mut known = monitor_common::packet::Packet::default();
        let parsed = parse(&&bytes[..], Link::Ethernet, &mut known);
        let frame = Frame { bytes: &bytes, now_ns: self.now_ns, parsed, packet: &known };
        self.simulator.judge(&frame, &mut Verdict::default())?;
        self.simulator.counts()
    }
}

/// The packet as it arrives over Ethernet: headers without payload.
fn frame(packet: &Packet) -> Vec<u8> {
    const ETHERNET: usize = 12;
    let tcp = packet.protocol_number() == TCP;
    let payload: u16 = if tcp { 20 } else { 8 };
    let mut bytes = vec![0; ETHERNET];
    match packet.from.to_canonical() {
        IpAddr::V4(from) => {
            bytes.extend([0x08, 0x00, 0x45, 0]);
            bytes.extend((20 + payload).to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, packet.protocol_number(), 0, 0]);
            bytes.extend(from.octets());
            bytes.extend([192, 0, 2, 1]);
        }
        IpAddr::V6(from) => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(payload.to_be_bytes());
            bytes.extend([packet.protocol_number(), 64]);
            bytes.extend(from.octets());
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
    }
    bytes.extend(40_000_u16.to_be_bytes());
    bytes.extend(packet.to_port.to_be_bytes());
    match tcp {
        // A header of five words; SYN.
        true => bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]),
        false => bytes.extend([0, 8, 0, 0]),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ask::packet::Transport;
    use monitor_common::packet::{Parsed, UDP};

    #[test]
    fn a_frame_says_what_the_request_does() {
        for (from, family) in [("192.0.2.9", 4), ("2001:db8::9", 6), ("::ffff:192.0.2.9", 4)] {
            for (protocol, number) in [(Transport::Tcp, TCP), (Transport::Udp, UDP)] {
                let from: IpAddr = from.parse().unwrap();
                let asked = Packet { from, to_port: 443, protocol, interface: None, bytes: None };
                let mut found = monitor_common::packet::Packet::default();
                assert_eq!(parse(&&frame(&asked)[..], Link::Ethernet, &mut found), Parsed::Ip);
                assert_eq!((found.family, found.protocol, found.port), (family, number, 443));
                assert_eq!(found.from(), asked.source());
                assert_eq!(found.opens != 0, protocol == Transport::Tcp);
            }
        }
    }
}
