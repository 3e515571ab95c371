//! Compiles rules, one by one.

use std::collections::BTreeMap;

use anyhow::Result;
use monitor_common::{
    limit::{Limit, RateRule},
    packet::{TCP, UDP},
    policy::{Action, Masks, Mode, Rule, RuleSet, WorkloadSet, masks::Direction, ports::port_index},
};

use crate::config::{self, Config, Protocol, Report, Severity};

/// What this kernel can't carry out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unenforceable {
    /// Why execs can be neither refused nor killed before they run, if so.
    pub exec: Option<&'static str>,
    /// Why nothing is seen of unix sockets, if so.
    pub unix: Option<&'static str>,
}

fn set(workloads: &[usize]) -> WorkloadSet {
    let mut set = WorkloadSet::EMPTY;
    workloads.iter().for_each(|index| set.insert(*index));
    set
}

/// The error for a rule that would not hold.
fn cannot_hold(config: &Config, name: &str, place: &config::Place, reason: &str, help: &str) -> Report {
    let message = format!("rule \"{name}\" can't be enforced on this kernel: {reason}");
    Report::new(vec![config.diagnostic(Severity::Error, place, message).help(help)])
}

/// An exec rule that applies to those in `also`, or to everybody if that is empty.
pub(super) fn exec_rule(
    config: &Config,
    rule: &config::Exec,
    also: WorkloadSet,
    cannot: &Unenforceable,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<Rule, Report> {
    let action = rule.action.into();
    let mut mode = rule.mode.into();
    if let (Some(reason), Mode::Enforce, true) = (cannot.exec, mode, action != Action::Alert) {
        if !rule.degrade {
            let help = "write `degrade = \"observe\"` in the rule to have it report only";
            return Err(cannot_hold(config, &rule.name, &rule.place, reason, help));
        }
        degraded.push((rule.name.clone(), reason));
        mode = Mode::Observe;
    }
    let compiled = match &rule.by {
        Some(by) => Rule::new(set(by), action, Action::Next, mode),
        None => Rule::new(WorkloadSet::EMPTY, action, action, mode),
    };
    Ok(Rule { also, ..compiled })
}

/// Database rules by direction. A rule that says nothing of a direction is in no mask of it.
pub(super) fn database_rules(
    config: &Config,
    cannot: &Unenforceable,
    masks: &mut Masks,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<[Vec<Rule>; Direction::ALL.len()], Report> {
    let mut tables: [Vec<Rule>; Direction::ALL.len()] = Default::default();
    for (index, rule) in config.databases.iter().enumerate() {
        if let (Some(reason), false) = (cannot.unix, rule.sockets.is_empty()) {
            if rule.mode == config::Mode::Enforce && !rule.degrade {
                let help = "write `degrade = \"observe\"` in the rule to do without its `sockets`: nothing is seen of them \
                            then, the rest of the rule holds";
                return Err(cannot_hold(config, &rule.name, &rule.place, reason, help));
            }
            degraded.push((rule.name.clone(), reason));
        }
        let mode: Mode = rule.mode.into();
        let action = rule.action.into();
        let of = |workloads: &Option<Vec<usize>>| {
            Rule::new(set(workloads.as_deref().unwrap_or_default()), Action::Allow, action, mode)
        };
        tables[Direction::Client as usize].push(of(&rule.clients));
        tables[Direction::Server as usize].push(of(&rule.servers));
        let dropped = if action == Action::Deny { Action::Drop } else { action };
        let sources = Rule::new(WorkloadSet::EMPTY, Action::Allow, dropped, mode);
        tables[Direction::Source as usize].push(sources);
        for (given, mask) in [
            (true, &mut masks.databases),
            (rule.clients.is_some(), &mut masks.clients),
            (rule.servers.is_some(), &mut masks.servers),
            (rule.sources.is_some(), &mut masks.sources),
            (rule.addresses.is_empty(), &mut masks.any_address),
        ] {
            if given {
                mask.insert(index);
            }
        }
    }
    Ok(tables)
}

/// Who may open raw sockets.
pub(super) fn raw_rule(rule: &config::RawSockets) -> Rule {
    Rule::new(set(&rule.allow), Action::Allow, rule.action.into(), rule.mode.into())
}

/// A rate limit.
pub(super) fn rate_rule(config: &Config, index: usize, rule: &config::RateLimit) -> Result<RateRule, Report> {
    let limit = |limit: Option<config::Limit>| {
        let Some(config::Limit { rate, burst }) = limit else { return Ok(Limit::NONE) };
        Limit::new(rate.count, rate.per_ns, burst).ok_or_else(|| {
            let message = format!("rate limit \"{}\": the burst takes too long to come back", rule.name);
            Report::new(vec![
                config.diagnostic(Severity::Error, &rule.place, message).help("write a smaller burst"),
            ])
        })
    };
    let every = if rule.packets.is_some() || rule.bytes.is_some() { RateRule::EVERY_PACKET } else { 0 };
    Ok(RateRule {
        packets: limit(rule.packets)?,
        connections: limit(rule.connections)?,
        bytes: limit(rule.bytes)?,
        mode: Mode::from(rule.mode) as u32,
        id: index as u64 + 2,
        counter: index as u32,
        flags: every | RateRule::EXACT_CLOCK,
        ..unparsed_rule()
    })
}

/// The limit of packets whose ports can't be told.
pub(super) fn unparsed_rule() -> RateRule {
    let newcomers = u64::from(monitor_common::limits::SOURCE_SETS);
    RateRule {
        packets: Limit::NONE,
        connections: Limit::NONE,
        bytes: Limit::NONE,
        newcomers: Limit::new(newcomers, 1_000_000_000, newcomers).unwrap_or(Limit::NONE),
        penalty: monitor_common::limit::Penalty { for_ns: 0, max_ns: 0, factor: 100, after: 0 },
        mask_v4: [u64::MAX; 2],
        mask_v6: [u64::MAX, 0],
        id: u64::MAX,
        counter: monitor_common::count::UNPARSED_RULE,
        mode: 0,
        flags: 0,
        prefix_v4: 32,
        prefix_v6: 64,
    }
}

type Ports<'a> = (Protocol, &'a [std::ops::RangeInclusive<u16>]);

/// Rules by port.
pub(super) fn by_port<'a>(rules: impl Iterator<Item = Ports<'a>>) -> BTreeMap<u32, RuleSet> {
    let mut table: BTreeMap<u32, RuleSet> = BTreeMap::new();
    for (rule, (protocol, ranges)) in rules.enumerate() {
        for port in ranges.iter().cloned().flatten() {
            indices(protocol, port)
                .for_each(|index| table.entry(index).or_insert(RuleSet::EMPTY).insert(rule));
        }
    }
    table
}

/// The port indices of a port.
pub(super) fn indices(protocol: Protocol, port: u16) -> impl Iterator<Item = u32> {
    let tcp = protocol.has_tcp().then(|| port_index(TCP, port));
    let udp = protocol.has_udp().then(|| port_index(UDP, port));
    tcp.into_iter().chain(udp)
}

impl From<config::Mode> for Mode {
    fn from(mode: config::Mode) -> Self {
        match mode {
            config::Mode::Observe => Self::Observe,
            config::Mode::Enforce => Self::Enforce,
        }
    }
}

impl From<config::Action> for Action {
    fn from(action: config::Action) -> Self {
        match action {
            config::Action::Alert => Self::Alert,
            config::Action::Deny => Self::Deny,
            config::Action::Kill => Self::Kill,
        }
    }
}
