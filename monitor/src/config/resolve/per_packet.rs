//! How many rate limits may apply to one packet.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use monitor_common::addr::Addr;
use monitor_common::policy::RuleSet;
use monitor_common::policy::ports::port_index;

use super::{Checked, Rules};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::limits::MAX_LIMITS_PER_PACKET;
use crate::config::model::RateLimit;
use crate::config::pattern::is_glob;
use crate::config::source::quoted;
use crate::policy::{ports, sources::Sources};

/// So many combinations of ports, sources and interfaces are looked at; with more, sources aren't told apart.
const MOST: usize = 1 << 26;

/// Sets of rules that may hold for a packet, each once and with an example.
struct Kinds<T> {
    found: Vec<(RuleSet, T)>,
    seen: HashSet<[u64; 4]>,
}

impl<T> Kinds<T> {
    fn new() -> Self {
        Self { found: Vec::new(), seen: HashSet::new() }
    }

    fn add(&mut self, rules: RuleSet, example: T) {
        if self.seen.insert(rules.bits) {
            self.found.push((rules, example));
        }
    }
}

impl Rules {
    /// Reports rate limits with which those that apply to one packet become too many.
    pub(super) fn check_packets(&self, diagnostics: &mut Vec<Diagnostic>) {
        let by_port = by_port(&self.rate_limits);
        if by_port.found.is_empty() {
            return;
        }
        let by_interface = by_interface(&self.rate_limits);
        let mut by_source = by_source(&self.rate_limits);
        let combinations = by_port.found.len().saturating_mul(by_interface.found.len());
        if combinations.saturating_mul(by_source.found.len()) > MOST {
            by_source.found = vec![(RuleSet { bits: [u64::MAX; 4] }, None)];
        }
        let mut crowded: BTreeMap<usize, String> = BTreeMap::new();
        for (of_port, index) in &by_port.found {
            for (of_interface, name) in &by_interface.found {
                let here = of_port.and(of_interface);
                for (of_source, prefix) in &by_source.found {
                    for rule in after_the_most(here.and(of_source)) {
                        crowded.entry(rule).or_insert_with(|| packet(*index, prefix.as_ref(), *name));
                    }
                }
            }
        }
        for (rule, packet) in crowded {
            let Some(rule) = self.rate_limits.get(rule) else { continue };
            let message = format!("more than {MAX_LIMITS_PER_PACKET} rate limits apply to a packet {packet}");
            let diagnostic = Diagnostic::new(Severity::Error, &rule.source, rule.span, message);
            let help = "join some of them: one rule can limit packets, connections and bytes";
            diagnostics.push(diagnostic.help(help));
        }
    }
}

/// The rules of a set after as many as may apply, in file order.
fn after_the_most(mut rules: RuleSet) -> impl Iterator<Item = usize> {
    let rules = std::iter::from_fn(move || rules.take_first());
    rules.skip(MAX_LIMITS_PER_PACKET).map(|rule| rule as usize)
}

/// Only ports that have enough rules to be of interest, each set with the first port index.
fn by_port(rules: &[Checked<RateLimit>]) -> Kinds<u32> {
    let mut kinds = Kinds::new();
    for (indices, rules) in ports::runs(rules.iter().map(|rule| (rule.value.protocol, &rule.value.ports[..])))
    {
        if after_the_most(rules).next().is_some() {
            kinds.add(rules, indices.start);
        }
    }
    kinds
}

/// With a prefix in mapped form; without one for all that no rule lists.
fn by_source(rules: &[Checked<RateLimit>]) -> Kinds<Option<(u32, Addr)>> {
    let asked = rules.iter().map(|rule| (rule.value.sources.as_deref(), &rule.value.except[..]));
    let sources = Sources::new(asked);
    let mut kinds = Kinds::new();
    kinds.add(sources.unlisted, None);
    for (length, addr, rules) in sources.prefixes.entries() {
        kinds.add(*rules, Some((length, addr)));
    }
    kinds
}

/// With a name; without one for all that no rule names. Globs are taken to match every name.
fn by_interface(rules: &[Checked<RateLimit>]) -> Kinds<Option<&str>> {
    let mut anywhere = RuleSet::EMPTY;
    let mut by_name: BTreeMap<&str, RuleSet> = BTreeMap::new();
    for (rule, limit) in rules.iter().map(|rule| &rule.value).enumerate() {
        let names = &limit.interfaces;
        if names.is_empty() || names.iter().any(|name| is_glob(&name.value)) {
            anywhere.insert(rule);
        } else {
            names.iter().for_each(|name| by_name.entry(&name.value).or_insert(RuleSet::EMPTY).insert(rule));
        }
    }
    let mut kinds = Kinds::new();
    kinds.add(anywhere, None);
    by_name.into_iter().for_each(|(name, rules)| kinds.add(rules.or(&anywhere), Some(name)));
    kinds
}

/// An example, as in "more than six rules apply to a packet ...".
fn packet(index: u32, prefix: Option<&(u32, Addr)>, interface: Option<&str>) -> String {
    let first_udp = port_index(monitor_common::packet::UDP, 0);
    let (protocol, port) = if index < first_udp { ("TCP", index) } else { ("UDP", index - first_udp) };
    let from = prefix.map(|(length, addr)| {
        let before = if addr.is_v4() && *length >= 96 { 96 } else { 0 };
        format!(" from {}/{}", IpAddr::from(*addr), length - before)
    });
    let on = interface.map(|name| format!(" on {}", quoted(name)));
    format!("to {protocol} port {port}{}{}", from.unwrap_or_default(), on.unwrap_or_default())
}
