//! Which rate limits a packet is charged to, whether anything protects it, and why other limits don't apply.

use std::net::IpAddr;

use monitor_common::{
    addr::Addr,
    limit::{Limit, RateRule},
    packet::{TCP, UDP},
    policy::{Mode, RuleSet, ports::port_index},
};
use serde::{Deserialize, Serialize};

use super::{
    Asker, Step,
    reasons::{Reason, contains, ports, prefixes, reason, shown, some_of},
};
use crate::{
    config::{self, Interfaces, Per, RateLimit, is_glob},
    host::ssh::Ssh,
    policy::{Compiled, interfaces::ByInterface, prefixes::masked},
};

/// A packet that arrives from another host.
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// The address that it comes from.
    #[arg(long, value_name = "ADDRESS")]
    pub from: IpAddr,
    /// The local port that it is for.
    #[arg(long, value_name = "PORT")]
    #[serde(alias = "to-port")]
    pub to_port: u16,
    /// What carries it.
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub protocol: Transport,
    /// The interface that it arrives on. Without it, a rule with `interfaces` doesn't apply.
    #[arg(long, value_name = "INTERFACE")]
    #[serde(default)]
    pub interface: Option<String>,
    /// Its bytes, from the link header on: says how many like it may come at once.
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub bytes: Option<u32>,
}

/// What carries a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct PacketStory {
    /// `limited`, `protected` (over a limit it passes all the same) or `none` (no limit applies).
    pub verdict: &'static str,
    /// What that means, in a sentence.
    pub sentence: String,
    /// What protects it: an entry of `[agent] protect`, or an SSH session or server of now.
    pub protected: Option<String>,
    /// The limits that it is charged to, in that order; the first that is over decides.
    pub limits: Vec<Charged>,
    /// The other rules, in file order.
    pub others: Vec<Step>,
}

/// A limit that applies.
#[derive(Clone, Debug, Serialize)]
pub struct Charged {
    /// The rule's name.
    pub rule: String,
    /// `observe` or `enforce`.
    pub mode: &'static str,
    /// Who is counted together with the sender.
    pub counted: String,
    /// What may come, of each thing that is limited.
    pub limits: Vec<Amount>,
    /// What the sender has to expect that is over it.
    pub penalty: Option<String>,
}

/// A rate and a burst.
#[derive(Clone, Debug, Serialize)]
pub struct Amount {
    /// `packets`, `connections` or `bytes`.
    pub what: &'static str,
    /// As it is written in a policy.
    pub rate: String,
    /// How many may come at once.
    pub burst: u64,
    /// How many packets of this size may come at once, if the size was given.
    pub at_once: Option<u64>,
}

impl Packet {
    /// The sender.
    #[must_use]
    pub fn source(&self) -> Addr {
        Addr::from(self.from.to_canonical())
    }

    /// The protocol's number.
    #[must_use]
    pub fn protocol_number(&self) -> u8 {
        if self.protocol == Transport::Tcp { TCP } else { UDP }
    }
}

impl Compiled {
    /// The rate limits that a packet is charged to, by their bits, as the packet program finds them.
    #[must_use]
    pub fn charged_to(&self, packet: &Packet) -> RuleSet {
        let index = port_index(packet.protocol_number(), packet.to_port);
        let by_port = self.rate_ports.get(&index).copied().unwrap_or(RuleSet::EMPTY);
        let mut rules = by_port;
        if by_port.meets(&self.rate_head.listed) {
            let held = self.rate_sources.longest(&packet.source());
            rules = rules.and(&held.unwrap_or(self.rate_head.unlisted));
        }
        if by_port.meets(&self.rate_head.on_interfaces) {
            rules = match &packet.interface {
                Some(name) => rules.and(&self.interfaces.rules_on(name)),
                None => rules.without(&self.rate_head.on_interfaces),
            };
        }
        rules
    }
}

impl Asker<'_> {
    /// Says what becomes of a packet by the policy; `ssh` is what belongs to SSH.
    ///
    /// # Errors
    /// If the names of interfaces are too complex, which they can't be after the policy was compiled.
    pub fn explain_packet(&self, packet: &Packet, ssh: &Ssh) -> anyhow::Result<PacketStory> {
        let watched = self.is_watched(packet)?;
        let mut bits = if watched { self.policy.charged_to(packet) } else { RuleSet::EMPTY };
        let mut charged = Vec::new();
        while let Some(bit) = bits.take_first() {
            charged.extend(self.policy.rate_rules.get(bit as usize));
        }
        let limits: Vec<_> = charged.iter().filter_map(|rule| self.charged(rule, packet)).collect();
        let applies = |index: usize| charged.iter().any(|rule| rule.counter as usize == index);
        let others = self.config.rate_limits.iter().enumerate().filter(|(index, _)| !applies(*index));
        let others: Vec<_> = others.map(|(_, rule)| self.other(rule, packet, watched)).collect();
        debug_assert!(others.iter().all(|step| step.why_not.is_some()), "{packet:?}: {others:?}");
        let protected = self.protects(packet, ssh);
        let (verdict, sentence) = match (limits.first(), &protected) {
            (None, _) => ("none", "no rate limit applies to it: it passes".to_owned()),
            (Some(_), Some(by)) => ("protected", format!("it is counted, and never dropped: {by}")),
            (Some(first), None) => (
                "limited",
                format!("it passes for as long as no limit is over, {} first", shown(&first.rule)),
            ),
        };
        Ok(PacketStory { verdict, sentence, protected, limits, others })
    }

    /// Whether packets are looked at where it arrives, as far as the policy says.
    fn is_watched(&self, packet: &Packet) -> anyhow::Result<bool> {
        let Interfaces::Named(list) = &self.config.agent.interfaces else { return Ok(true) };
        let Some(name) = &packet.interface else { return Ok(!list.is_empty()) };
        Ok(!ByInterface::new([(0, &list[..])].into_iter())?.look_up(name).is_empty())
    }

    fn protects(&self, packet: &Packet, ssh: &Ssh) -> Option<String> {
        let (from, protect) = (packet.from.to_canonical(), &self.config.agent.protect);
        if let Some((addr, length)) = protect.prefixes.iter().find(|prefix| contains(prefix, from)) {
            return Some(format!("{addr}/{length} is in [agent] protect"));
        }
        let tcp = packet.protocol == Transport::Tcp;
        let is_it = |(protocol, port): &&(config::Protocol, u16)| {
            *port == packet.to_port && if tcp { protocol.has_tcp() } else { protocol.has_udp() }
        };
        if let Some((protocol, port)) = protect.ports.iter().find(is_it) {
            return Some(format!("{}/{port} is in [agent] protect", protocol.name()));
        }
        if ssh.peers.contains(&from) {
            return Some(format!("{from} has an SSH session on this host"));
        }
        (tcp && ssh.ports.contains(&packet.to_port))
            .then(|| format!("port {} is an SSH server's, or has sessions of one", packet.to_port))
    }

    fn charged(&self, compiled: &RateRule, packet: &Packet) -> Option<Charged> {
        let rule = self.config.rate_limits.get(compiled.counter as usize)?;
        let tcp = packet.protocol == Transport::Tcp;
        let rows = [
            ("connections", rule.connections.filter(|_| tcp), &compiled.connections, Some(1)),
            ("packets", rule.packets, &compiled.packets, Some(1)),
            ("bytes", rule.bytes, &compiled.bytes, packet.bytes.map(u64::from)),
        ];
        let amount = |(what, said, limit, tokens): (_, Option<config::Limit>, &Limit, Option<u64>)| {
            let said = said?;
            Some(Amount {
                what,
                rate: rate(said.rate),
                burst: said.burst,
                at_once: packet.bytes.and(tokens).map(|tokens| limit.at_once(tokens)),
            })
        };
        Some(Charged {
            rule: rule.name.clone(),
            mode: Mode::from_code(compiled.mode as u8).name(),
            counted: counted(rule.per, packet.from.to_canonical()),
            limits: rows.into_iter().filter_map(amount).collect(),
            penalty: rule.penalty.as_ref().map(|penalty| {
                let seconds = |ns: u64| ns as f64 / 1e9;
                format!(
                    "{} s after {} packets over it, up to {} s",
                    seconds(penalty.for_ns),
                    penalty.after,
                    seconds(penalty.max_ns)
                )
            }),
        })
    }

    /// Why a rule doesn't apply: read off the policy's text, as everywhere.
    fn other(&self, rule: &RateLimit, packet: &Packet, watched: bool) -> Step {
        let why_not = match watched {
            true => why_not(rule, packet),
            false => reason("interfaces", "[agent] interfaces doesn't have it: no packet is looked at there"),
        };
        Step { rule: rule.name.clone(), decides: false, why_not }
    }
}

fn why_not(rule: &RateLimit, packet: &Packet) -> Option<Reason> {
    let (port, from) = (packet.to_port, packet.from.to_canonical());
    if !rule.ports.iter().any(|range| range.contains(&port)) {
        return reason("ports", format!("{port} is none of {}", ports(&rule.ports)));
    }
    let tcp = packet.protocol == Transport::Tcp;
    if !(if tcp { rule.protocol.has_tcp() } else { rule.protocol.has_udp() }) {
        return reason("protocol", format!("it is for {} only", rule.protocol.name()));
    }
    if let Some(within) = rule.except.iter().find(|prefix| contains(prefix, from)) {
        return reason("except", format!("{from} is in {}/{}", within.0, within.1));
    }
    if let Some(sources) = &rule.sources
        && !sources.iter().any(|prefix| contains(prefix, from))
    {
        return reason("sources", format!("{from} is in none of {}", prefixes(sources)));
    }
    if rule.interfaces.is_empty() {
        return None;
    }
    let named = || some_of(rule.interfaces.iter().map(|name| shown(&name.value)));
    match &packet.interface {
        None => reason("interfaces", format!("the interface was not given, and must be one of {}", named())),
        Some(name) => {
            let plainly = rule.interfaces.iter().any(|one| !is_glob(&one.value) && one.value == *name);
            let listed = plainly
                || ByInterface::new([(0, &rule.interfaces[..])].into_iter())
                    .is_ok_and(|list| !list.look_up(name).is_empty());
            if listed {
                return None;
            }
            reason("interfaces", format!("{} is none of {}", shown(name), named()))
        }
    }
}

/// Who is counted together with a sender.
fn counted(per: Per, from: IpAddr) -> String {
    let Per::Source { v4, v6 } = per else { return "everybody together".to_owned() };
    let (length, whole) = if from.is_ipv4() { (v4, 32) } else { (v6, 128) };
    if length == whole {
        return format!("{from} alone");
    }
    let bits = u32::from(length) + if from.is_ipv4() { 96 } else { 0 };
    let network = IpAddr::from(masked(&Addr::from(from), bits)).to_canonical();
    format!("all of {network}/{length} together")
}

/// A rate, as a policy writes it.
fn rate(rate: config::Rate) -> String {
    let unit = match rate.per_ns {
        1_000_000_000 => "s".to_owned(),
        60_000_000_000 => "min".to_owned(),
        3_600_000_000_000 => "h".to_owned(),
        other => format!("{other} ns"),
    };
    format!("{}/{unit}", rate.count)
}
