//! Sends a capture through the program, packet by packet.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use monitor_common::{
    addr::Addr,
    packet::{Link, Packet, Parsed, parse},
};

use super::{
    Args, Speed,
    capture::{End, Record},
    clock::Clock,
    link::{self, LinkType},
    report::{Parts, Report, SkippedReport},
    tally::Tally,
    wire::Wire,
};
use crate::agent::simulate::{Frame, Judge, Verdict};

/// Packets that were left out.
#[derive(Debug, Default)]
pub struct Skipped {
    /// Those that the host sent.
    outgoing: u64,
    /// Those to others.
    elsewhere: u64,
    /// Those without a whole link header.
    headless: u64,
    /// Those of interfaces whose link type is refused.
    refused: BTreeMap<LinkType, u64>,
}

/// A simulation under way.
pub struct Drive<J> {
    judge: J,
    clock: Clock,
    wire: Wire,
    tally: Tally,
    verdict: Verdict,
    skipped: Skipped,
    packets: u64,
    buffer: Vec<u8>,
    top: usize,
    to: Vec<(IpAddr, u8)>,
    interface: Option<String>,
    /// When the first packet was judged, if the capture's pace is kept.
    begun: Option<Instant>,
    real: bool,
}

impl<J: Judge> Drive<J> {
    /// One that hasn't begun.
    pub fn new(args: &Args, judge: J) -> Self {
        let tally = Tally::new(judge.rules().len());
        Self {
            judge,
            clock: Clock::default(),
            wire: Wire::new(args.mtu as usize),
            tally,
            verdict: Verdict::default(),
            skipped: Skipped::default(),
            packets: 0,
            buffer: Vec::new(),
            top: args.top,
            to: args.to.clone(),
            interface: args.interface.clone(),
            begun: None,
            real: args.speed == Speed::Real,
        }
    }

    /// Judges a packet.
    ///
    /// # Errors
    /// If the kernel doesn't.
    pub fn take(&mut self, record: &Record<'_>) -> Result<()> {
        self.packets += 1;
        let Some(frame) = link::ethernet(record, &mut self.buffer) else {
            match record.link.refusal() {
                Some(_) => *self.skipped.refused.entry(record.link).or_default() += 1,
                None => self.skipped.headless += 1,
            }
            return Ok(());
        };
        let mut packet = Packet::default();
        let parsed = parse(&frame.data, Link::Ethernet, &mut packet);
        if frame.outgoing {
            self.skipped.outgoing += 1;
            return Ok(());
        }
        if !self.to.is_empty() && !is_to(frame.data, &packet, &self.to) {
            self.skipped.elsewhere += 1;
            return Ok(());
        }
        let now_ns = self.clock.at(record.time_ns);
        let elapsed_ns = self.clock.elapsed_ns();
        if self.real {
            let begun = *self.begun.get_or_insert_with(Instant::now);
            thread::sleep(Duration::from_nanos(elapsed_ns).saturating_sub(begun.elapsed()));
        }
        let (judge, tally, verdict) = (&mut self.judge, &mut self.tally, &mut self.verdict);
        judge.set_interface(self.interface.as_deref().or(record.interface))?;
        if parsed == Parsed::Other {
            packet = Packet::default();
        }
        self.wire.frames(&frame, parsed, &packet, |bytes| {
            judge.judge(&Frame { bytes, now_ns, parsed, packet: &packet }, verdict)?;
            tally.add(elapsed_ns, &packet, bytes.len(), verdict, judge.rules());
            Ok(())
        })
    }

    /// What came of it.
    ///
    /// # Errors
    /// If the kernel doesn't tell, or there was nothing to judge.
    pub fn report(&self, file: String, end: End) -> Result<Report> {
        if let (0, Some(link)) = (self.tally.all.sent.packets, self.skipped.refused.keys().next()) {
            bail!("capture {file}: {}", link.refusal().unwrap_or_default());
        }
        let counts = self.judge.counts()?;
        Ok(Report::new(&Parts {
            file,
            packets: self.packets,
            end,
            skipped: &self.skipped,
            mended: self.wire.mended,
            clock: &self.clock,
            tally: &self.tally,
            rules: self.judge.rules(),
            counts: &counts,
            top: self.top,
        }))
    }
}

impl Skipped {
    /// By reason.
    #[must_use]
    pub fn report(&self) -> Vec<SkippedReport> {
        let fixed = [
            ("the host sent them itself", self.outgoing),
            ("they are to none of the addresses of --to", self.elsewhere),
            ("they are shorter than their link header", self.headless),
        ];
        let fixed = fixed.into_iter().map(|(reason, packets)| (reason.to_owned(), packets));
        let refused = self.refused.iter().map(|(link, packets)| {
            (format!("they begin with {}, which can't be sent through the program", link.name()), *packets)
        });
        let row = |(reason, packets)| SkippedReport { reason, packets };
        fixed.chain(refused).filter(|(_, packets)| *packets > 0).map(row).collect()
    }
}

/// Whether an IP packet is to one of the networks.
fn is_to(data: &[u8], packet: &Packet, networks: &[(IpAddr, u8)]) -> bool {
    let at = usize::from(packet.network) + if packet.family == 4 { 16 } else { 24 };
    let addr = match packet.family {
        4 => data.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Addr::v4),
        6 => data.get(at..at + 16).and_then(|bytes| Some(Addr { bytes: bytes.try_into().ok()? })),
        _ => None,
    };
    let Some(addr) = addr else { return false };
    let bits = u128::from_be_bytes(addr.bytes);
    networks.iter().any(|(network, length)| {
        let before = if network.is_ipv4() { 96 } else { 0 };
        let mask = u128::MAX.checked_shl(128 - u32::from(*length) - before).unwrap_or(0);
        (bits ^ u128::from_be_bytes(Addr::from(*network).bytes)) & mask == 0
            && network.is_ipv4() == (packet.family == 4)
    })
}

#[cfg(test)]
mod tests;
