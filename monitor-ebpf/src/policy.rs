//! The evaluator of `monitor-common`, reading its rules from maps.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_kernel, maps::Array};
use monitor_common::{
    packet::{TCP, UDP},
    policy::{Decision, Rule, RuleSet, Rules, Subject},
};

pub use monitor_common::policy::ports::{PORT_INDICES, port_index};

use crate::subject::is_stale;

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
    let mut candidates = *candidates;
    blur(&mut candidates);
    let mut decision = monitor_common::policy::decide_now(&Table(rules), &candidates, subject, is_stale);
    blur(&mut decision);
    decision
}

/// The same where the candidates are known to the verifier, or come from memory.
#[inline(always)]
pub fn decide_plainly(rules: &'static Array<Rule>, candidates: &RuleSet, subject: &impl Subject) -> Decision {
    monitor_common::policy::decide_now(&Table(rules), candidates, subject, is_stale)
}

/// Copies a value onto itself by a helper.
///
/// VERIFIER: it knows nothing about memory that a helper wrote, so however a program came to a value, it goes on in one
/// state. For small integers and sets of bits only.
#[inline(always)]
pub fn blur<T>(value: &mut T) {
    let at = (&raw mut *value).cast::<c_void>();
    // SAFETY: the value's own memory, read and written as bytes.
    unsafe { bpf_probe_read_kernel(at, size_of::<T>() as u32, at.cast_const()) };
}

/// The rules that speak of a protocol and port.
#[inline(always)]
pub fn by_port(table: &'static Array<RuleSet>, protocol: u8, port: u16) -> RuleSet {
    match table.get(port_index(protocol, port)) {
        Some(rules) if protocol == TCP || protocol == UDP => *rules,
        _ => RuleSet::EMPTY,
    }
}
