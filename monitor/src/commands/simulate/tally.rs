//! What came of the frames, as user space counts it: by time, by source, and by rule and source.

use monitor_common::packet::Packet;

use super::{
    sources::{Fate, Sources},
    timeline::{Interval, Timeline},
};
use crate::agent::simulate::{Amount, Rule, Verdict};

/// Sources that are kept of all packets, and as many of those that rules dropped.
const SOURCES: usize = 131_072;
/// The fewest that are kept for a rule.
const LEAST: usize = 1024;

/// The counts.
pub struct Tally {
    /// All frames.
    pub all: Fate,
    /// Those that aren't IP, or keep the link alive.
    pub not_ip: Amount,
    /// Those at ports that no rule speaks of.
    pub no_rule: Amount,
    /// By interval.
    pub timeline: Timeline,
    /// By source, as rules tell them apart that don't say how: IPv4 addresses, and the first 64 bits of IPv6 addresses.
    pub sources: Sources,
    /// By rule, those it dropped or would drop, as it tells them apart.
    pub over: Vec<Sources>,
}

impl Tally {
    /// Of nothing, for so many rules.
    #[must_use]
    pub fn new(rules: usize) -> Self {
        let each = (SOURCES / rules.max(1)).max(LEAST);
        Self {
            all: Fate::default(),
            not_ip: Amount::default(),
            no_rule: Amount::default(),
            timeline: Timeline::default(),
            sources: Sources::new(SOURCES),
            over: (0..rules).map(|_| Sources::new(each)).collect(),
        }
    }

    /// Counts a frame.
    pub fn add(&mut self, elapsed_ns: u64, packet: &Packet, bytes: usize, verdict: &Verdict, rules: &[Rule]) {
        let sent = Amount::one(bytes);
        let dropped = sent.only_if(verdict.dropped);
        let would_drop = sent.only_if(!verdict.dropped && !verdict.over.is_empty());
        let fate = Fate { sent, dropped, would_drop };
        self.all.add(&fate);
        self.timeline.add(elapsed_ns, &Interval { arrived: sent, dropped, would_drop });
        if packet.family == 0 {
            self.not_ip.add(sent);
            return;
        }
        if verdict.no_rule {
            self.no_rule.add(sent);
        }
        self.sources.add(packet.masked(&[u64::MAX; 2], &[u64::MAX, 0]), &fate);
        for over in &verdict.over {
            if let (Some(sources), Some(rule)) = (self.over.get_mut(over.rule), rules.get(over.rule)) {
                let (dropped, would_drop) = (sent.only_if(over.dropped), sent.only_if(!over.dropped));
                let source = packet.masked(&rule.mask_v4, &rule.mask_v6);
                sources.add(source, &Fate { sent, dropped, would_drop });
            }
        }
    }
}
