//! The one way out: counters, and records on the rings.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, maps::RingBuf};
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use monitor_common::{
    count::{Count, DatabaseCount, Stat, database_slot, decision_slot, slot},
    event::{Header, Kind, Ring},
    policy::{Decision, NO_RULE, RuleKind, masks::Direction},
};

use crate::{
    flow::flow_over,
    maps::{
        COUNTS, DATABASE_COUNTS, DECISIONS, EVENTS, EXEC_FINDINGS, PACKET_FINDINGS, SOCKET_FINDINGS, STATS,
    },
};

/// Adds to a counter that another task on this CPU may be adding to as well.
#[inline(always)]
pub fn add(counter: *mut u64, amount: u64) {
    // SAFETY: the pointer is a live map value. The result is unused, so this is the plain atomic add that every
    // kernel knows.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
}

/// Counts an event.
#[inline(always)]
pub fn count(kind: Kind, what: Count) {
    if let Some(counter) = COUNTS.get_ptr_mut(slot(kind as u16, what)) {
        add(counter, 1);
    }
}

/// Counts something else.
#[inline(always)]
pub fn stat(what: Stat) {
    if let Some(counter) = STATS.get_ptr_mut(what as u32) {
        add(counter, 1);
    }
}

/// Counts a decision of a rule.
#[inline(always)]
pub fn decided(kind: RuleKind, decision: &Decision) {
    if decision.rule == NO_RULE {
        return;
    }
    let index = decision_slot(kind as u8, decision.rule, decision.verdict, decision.mode);
    if let Some(counter) = DECISIONS.get_ptr_mut(index) {
        add(counter, 1);
    }
}

/// Counts a decision about a database by the workload that asked for it.
#[inline(always)]
pub fn database(direction: Direction, decision: &Decision, workload: u32) {
    let slot = database_slot(direction, decision.rule, workload);
    let Some(entry) = DATABASE_COUNTS.get_ptr_mut(slot) else { return };
    let column = usize::from(decision.mode & 1) * 6 + usize::from(decision.verdict & 7);
    if column < 12 {
        // SAFETY: `column` is inside of the array, which is inside of the live map value.
        let counter = unsafe { (&raw mut (*entry).connections).cast::<u64>().add(column) };
        add(counter, 1);
    }
    const { assert!(size_of::<DatabaseCount>() == 12 * 8) };
}

/// The beginning of a record.
#[inline(always)]
pub fn header(kind: Kind, decision: &Decision, flags: u16) -> Header {
    Header {
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        kind: kind as u16,
        rule: decision.rule,
        verdict: decision.verdict,
        mode: decision.mode,
        flags,
    }
}

/// Puts a record on its ring, or counts its loss. `decision` is that of its header.
#[inline(always)]
pub fn emit<T: ?Sized>(kind: Kind, decision: &Decision, record: &T) {
    if decision.is_finding() {
        return emit_finding(kind, record);
    }
    if flow_over() != 0 {
        return count(kind, Count::Throttled);
    }
    let done = EVENTS.output::<T>(record, 0).is_ok();
    count(kind, if done { Count::Submitted } else { Count::RingFull });
}

/// The same for what a rule reports.
#[inline(always)]
pub fn emit_finding<T: ?Sized>(kind: Kind, record: &T) {
    let done = findings(kind).output::<T>(record, 0).is_ok();
    count(kind, if done { Count::Submitted } else { Count::FindingsFull });
}

#[inline(always)]
fn findings(kind: Kind) -> &'static RingBuf {
    match kind.findings() {
        Ring::Events => &EVENTS,
        Ring::Execs => &EXEC_FINDINGS,
        Ring::Sockets => &SOCKET_FINDINGS,
        Ring::Packets => &PACKET_FINDINGS,
    }
}
