//! Compiles rate limits into the tables of the packet programs.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use monitor_common::{
    addr::Addr,
    count::UNPARSED_RULE,
    limit::{COARSE_WINDOW_NS, Limit, Penalty, RateHead, RateRule, TICKS_PER_NS},
    policy::{Mode, RuleSet},
    sources,
};
use sha2::{Digest as _, Sha256};

use super::{
    interfaces::ByInterface,
    ports::by_port,
    prefixes::{Prefixes, masked},
    sources::Sources,
};
use crate::config::{self, Config, Per, Place, RateLimit, Report, Severity, UNPARSED};

/// All rate limits.
pub(super) struct Rates {
    /// In the order in which they are evaluated, which is that of their bits in all sets.
    pub rules: Vec<RateRule>,
    /// For packets that can't be read.
    pub unparsed: RateRule,
    /// By port index.
    pub ports: BTreeMap<u32, RuleSet>,
    /// What is to be known before the packet is.
    pub head: RateHead,
    /// By source.
    pub sources: Prefixes,
    /// Those that ask about the interface.
    pub interfaces: ByInterface,
    /// Those that hold on every interface.
    pub everywhere: RuleSet,
    /// How many sets the table of sources has.
    pub source_sets: u32,
}

impl Rates {
    /// Compiles the rate limits of a configuration.
    ///
    /// # Errors
    /// Names the rule and its place.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let source_sets = source_sets(config.packets.memory);
        let limits = in_order(&config.rate_limits);
        let compile = |(counter, limit): &(u32, &RateLimit)| rate_rule(config, limit, *counter, source_sets);
        let rules = limits.iter().map(compile).collect::<Result<Vec<_>, Report>>()?;
        let unparsed = unparsed(config, source_sets)?;
        check_ids(config, &rules, &unparsed)?;
        let ordered = || limits.iter().map(|(_, limit)| *limit);
        let Sources { prefixes, listed, unlisted } =
            Sources::new(ordered().map(|limit| (limit.sources.as_deref(), &limit.except[..])));
        let (mut on_interfaces, mut everywhere) = (RuleSet::EMPTY, RuleSet::EMPTY);
        for (bit, limit) in ordered().enumerate() {
            if limit.interfaces.is_empty() { everywhere.insert(bit) } else { on_interfaces.insert(bit) }
        }
        Ok(Self {
            rules,
            unparsed,
            ports: by_port(ordered().map(|limit| (limit.protocol, &limit.ports[..]))),
            head: RateHead { listed, unlisted, on_interfaces },
            sources: prefixes,
            interfaces: ByInterface::new(ordered().map(|limit| &limit.interfaces[..]).enumerate())?,
            everywhere,
            source_sets,
        })
    }
}

/// The largest power of two of sets that a number of bytes holds.
fn source_sets(memory: u64) -> u32 {
    let sets = memory / size_of::<sources::Set>() as u64;
    let exponent = sets.checked_ilog2().unwrap_or(0);
    1 << exponent.min(u32::BITS - 1)
}

/// Rate limits in the order in which they are evaluated, each with its place in the file. The narrowest come first, so
/// that one source's excess isn't charged to what it shares with others.
fn in_order(limits: &[RateLimit]) -> Vec<(u32, &RateLimit)> {
    let mut ordered: Vec<_> = (0..).zip(limits).collect();
    // Stable: in file order among equals.
    ordered.sort_by_key(|(_, limit)| match limit.per {
        Per::Source { v4, v6 } => (0, u8::MAX - v4, u8::MAX - v6),
        Per::Rule => (1, 0, 0),
    });
    ordered
}

fn rate_rule(config: &Config, rule: &RateLimit, counter: u32, source_sets: u32) -> Result<RateRule, Report> {
    let limit = |limit: Option<config::Limit>| limit_of(config, &rule.name, &rule.place, limit);
    let penalty = rule.penalty.as_ref().map(|penalty| Penalty {
        for_ns: penalty.for_ns,
        max_ns: penalty.max_ns,
        factor: penalty.factor,
        after: penalty.after,
    });
    let newcomers = match rule.per {
        Per::Rule => Limit::NONE,
        Per::Source { .. } => limit(rule.newcomers.or_else(|| Some(newcomers(source_sets))))?,
    };
    let other = u32::from(rule.when_stale.is_other(rule.mode)) * u32::from(Mode::OTHER_WHEN_STALE);
    Ok(flagged(RateRule {
        packets: limit(rule.packets)?,
        connections: limit(rule.connections)?,
        bytes: limit(rule.bytes)?,
        newcomers,
        penalty: penalty.unwrap_or(NO_PENALTY),
        id: id(&rule.name),
        counter,
        mode: Mode::from(rule.mode) as u32 | other,
        ..counting(rule.per)
    }))
}

const NO_PENALTY: Penalty = Penalty { for_ns: 0, max_ns: 0, factor: 0, after: 0 };

/// The rule for packets that can't be read; without any limit if there is to be none.
fn unparsed(config: &Config, source_sets: u32) -> Result<RateRule, Report> {
    let limit = |limit: Option<config::Limit>| limit_of(config, UNPARSED, &Place::default(), limit);
    let packets = config.packets.unparsed;
    Ok(flagged(RateRule {
        packets: limit(packets)?,
        newcomers: limit(packets.map(|_| newcomers(source_sets)))?,
        id: id(UNPARSED),
        counter: UNPARSED_RULE,
        mode: Mode::from(config.mode) as u32,
        ..counting(Per::SOURCE)
    }))
}

/// An eighth of the table's places a second: a flood of new sources takes eight seconds to fill it, in which the
/// places of those that are gone become free.
fn newcomers(source_sets: u32) -> config::Limit {
    config::Limit::a_second(u64::from(source_sets) * sources::WAYS as u64 / 8)
}

/// A limit, ready for arithmetic.
fn limit_of(
    config: &Config,
    name: &str,
    place: &Place,
    limit: Option<config::Limit>,
) -> Result<Limit, Report> {
    let Some(config::Limit { rate, burst }) = limit else { return Ok(Limit::NONE) };
    Limit::new(rate.count, rate.per_ns, burst).ok_or_else(|| {
        let message =
            format!("rate limit \"{name}\": the limiter can't hold this rate with a burst of {burst}");
        let error = config.diagnostic(Severity::Error, place, message);
        Report::new(vec![error.help("write another burst, or a lower rate")])
    })
}

/// With the flags that follow from its limits.
fn flagged(rule: RateRule) -> RateRule {
    let given = |limit: &&Limit| limit.per_token != 0;
    let mut flags = rule.flags;
    let all = [&rule.packets, &rule.connections, &rule.bytes, &rule.newcomers];
    if all.iter().copied().filter(given).any(|limit| limit.window < COARSE_WINDOW_NS * TICKS_PER_NS) {
        flags |= RateRule::EXACT_CLOCK;
    }
    if [&rule.packets, &rule.bytes].iter().any(given) {
        flags |= RateRule::EVERY_PACKET;
    }
    RateRule { flags, ..rule }
}

/// A rule without limits that counts together what is said.
fn counting(per: Per) -> RateRule {
    let (prefix_v4, prefix_v6, flags) = match per {
        Per::Source { v4, v6 } => (v4, v6, 0),
        Per::Rule => (0, 0, RateRule::WHOLE),
    };
    let mask = |length| Addr { bytes: masked(&Addr { bytes: [0xff; 16] }, length) }.words();
    RateRule {
        packets: Limit::NONE,
        connections: Limit::NONE,
        bytes: Limit::NONE,
        newcomers: Limit::NONE,
        penalty: NO_PENALTY,
        // In mapped form; what is in front is the same of all.
        mask_v4: if per == Per::Rule { [0; 2] } else { mask(96 + u32::from(prefix_v4)) },
        mask_v6: mask(u32::from(prefix_v6)),
        id: 0,
        counter: 0,
        mode: Mode::Observe as u32,
        flags,
        prefix_v4: prefix_v4.into(),
        prefix_v6: prefix_v6.into(),
    }
}

/// What stays the same for as long as a rule has its name: never 0 or 1, which stand for bans by hand.
fn id(name: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(name).into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(2)
}

/// Refuses two rules whose names happen to have the same id: they would share buckets and penalties.
fn check_ids(config: &Config, rules: &[RateRule], unparsed: &RateRule) -> Result<(), Report> {
    let mut seen = HashMap::from([(unparsed.id, UNPARSED)]);
    for rule in rules {
        let Some(limit) = config.rate_limits.get(rule.counter as usize) else { continue };
        if let Some(other) = seen.insert(rule.id, &limit.name) {
            let message = format!("the names \"{other}\" and \"{}\" have the same hash", limit.name);
            let error = config.diagnostic(Severity::Error, &limit.place, message);
            return Err(Report::new(vec![error.help("give one of them another name")]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
