//! A policy in maps of its own, attached to nothing, to send packets through the program that would judge them.

mod kernel;

use std::sync::Arc;

use anyhow::Result;
use monitor_common::{
    count::Unparsed,
    limit::Cause,
    packet::{Packet, Parsed},
    policy::Mode,
};

pub use self::kernel::Simulator;

/// Packets and their bytes, from the link header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    /// One packet.
    #[must_use]
    pub fn one(bytes: usize) -> Self {
        Self { packets: 1, bytes: bytes as u64 }
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }

    /// Nothing, unless `holds`.
    #[must_use]
    pub fn only_if(self, holds: bool) -> Self {
        if holds { self } else { Self::default() }
    }
}

/// A frame, as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the Ethernet header on.
    pub bytes: &'a [u8],
    /// When, on a clock of its own.
    pub now_ns: u64,
    /// What it is.
    pub parsed: Parsed,
    /// The same in detail.
    pub packet: &'a Packet,
}

/// A rate limit.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// Which bits of an IPv4 source it tells sources apart by.
    pub mask_v4: [u64; 2],
    /// The same for an IPv6 source.
    pub mask_v6: [u64; 2],
}

/// A rule that a packet was over the limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Its index in [`Judge::rules`].
    pub rule: usize,
    /// Whether the packet was dropped for it; else it would have been.
    pub dropped: bool,
}

/// What the program made of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it was dropped.
    pub dropped: bool,
    /// The rules it was over the limit of.
    pub over: Vec<Over>,
    /// Whether it is at a port that no rule speaks of.
    pub no_rule: bool,
}

/// Packets by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcomes {
    /// Within the limit.
    pub passed: Amount,
    /// Dropped.
    pub dropped: Amount,
    /// Would have been dropped, were the rule enforced.
    pub would_drop: Amount,
    /// Over the limit, but protected.
    pub protected: Amount,
    /// Over the limit of the source, but of a connection that it holds.
    pub spared: Amount,
}

/// What the program counted for a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounts {
    /// Packets by what came of them.
    pub outcomes: Outcomes,
    /// Those over the limit, by [`Cause`].
    pub over: [u64; Cause::ALL.len()],
}

/// What the program counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By rule.
    pub rules: Vec<RuleCounts>,
    /// By [`Unparsed`], what came of packets whose ports can't be told.
    pub unparsed: [Outcomes; Unparsed::ALL.len()],
}

/// Who judges frames.
pub trait Judge {
    /// The rate limits in file order, and last the one for packets whose ports can't be told.
    fn rules(&self) -> &[Rule];

    /// Has the following frames arrive on an interface of this name.
    ///
    /// # Errors
    /// If that can't be said to the kernel.
    fn set_interface(&mut self, name: Option<&str>) -> Result<()>;

    /// Judges a frame, and says how in place of what `verdict` said.
    ///
    /// # Errors
    /// If the kernel doesn't.
    fn judge(&mut self, frame: &Frame<'_>, verdict: &mut Verdict) -> Result<()>;

    /// What was counted so far.
    ///
    /// # Errors
    /// If the kernel doesn't tell.
    fn counts(&self) -> Result<Counts>;
}
