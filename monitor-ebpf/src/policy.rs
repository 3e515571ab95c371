//! The evaluator of `monitor-common`, reading its rules from maps.

use aya_ebpf::maps::Array;
use monitor_common::{
    packet::{TCP, UDP},
    policy::{Decision, Rule, RuleSet, Rules, Subject},
};

pub use monitor_common::policy::ports::{PORT_INDICES, port_index};

struct Table(&'static Array<Rule>);

impl Rules for Table {
    #[inline(always)]
    fn rule(&self, index: u32) -> Option<Rule> {
        self.0.get(index).copied()
    }
}

/// Decides: of `candidates`, the first rule of the table that applies to `subject`.
#[inline(always)]
pub fn decide(rules: &'static Array<Rule>, candidates: &RuleSet, subject: &impl Subject) -> Decision {
    if candidates.is_empty() {
        return Decision::NONE;
    }
    monitor_common::policy::decide(&Table(rules), candidates, subject)
}

/// The rules that speak of a protocol and port.
#[inline(always)]
pub fn by_port(table: &'static Array<RuleSet>, protocol: u8, port: u16) -> RuleSet {
    match table.get(port_index(protocol, port)) {
        Some(rules) if protocol == TCP || protocol == UDP => *rules,
        _ => RuleSet::EMPTY,
    }
}
