//! Rate limits on arriving packets, at XDP.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::bpf_ktime_get_ns,
    macros::xdp,
    maps::lpm_trie::Key,
    programs::XdpContext,
};
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use monitor_common::{
    count::{Count, OUTCOMES, Outcome},
    event::{Endpoint, Kind, limited},
    limit::{Bucket, BucketKey, Limit, REPORT_EVERY_NS, RateRule},
    limits,
    packet::{self, Frame, Packet, Parsed},
    policy::{Decision, Mode, RuleSet, verdict},
    verifier::opaque,
};

use crate::{
    emit::{add, count, emit, header},
    maps::{ARRIVAL, BUCKETS, PACKETS, PROTECTED, PROTECTED_PORTS, RATE_PORTS, RATE_RULES, UNPARSED},
    policy::{by_port, port_index},
};

/// A frame in the packet's own memory.
struct Direct {
    start: usize,
    end: usize,
    /// Somewhere to put a number and take it back.
    slot: *mut u64,
}

impl Frame for Direct {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // VERIFIER: an offset into a packet needs a bound it can see.
        let from = self.start + (at & 0xfff);
        // VERIFIER: for a single byte the compiler would write `from >= end`, which proves nothing to it.
        if opaque(from + N) > self.end {
            return None;
        }
        // SAFETY: just compared with the end of the packet, in the form that the verifier recognises.
        Some(unsafe { (from as *const [u8; N]).read_unaligned() })
    }

    #[inline(always)]
    fn blur(&self, number: usize) -> usize {
        // SAFETY: a field of a live map value of this CPU.
        unsafe {
            core::ptr::write_volatile(self.slot, number as u64);
            core::ptr::read_volatile(self.slot) as usize
        }
    }
}

/// A packet on its way through the program.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrival {
    packet: Packet,
    bytes: u64,
    /// Rules that are still to be asked.
    rules: RuleSet,
    /// Rules that want it dropped.
    drops: u64,
}

/// Every packet that arrives on an interface the agent was told to watch.
#[xdp]
pub fn ingress(context: XdpContext) -> u32 {
    // VERIFIER: what was parsed goes through a map, so that the many ways of parsing are one state afterwards. Nothing
    // else runs on this CPU before the program has ended.
    let Some(arrival) = ARRIVAL.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: a live map value of this CPU.
    let slot = unsafe { &raw mut (*arrival).bytes };
    let frame = Direct { start: context.data(), end: context.data_end(), slot };
    match packet::parse(&frame) {
        // SAFETY: a live map value of this CPU.
        Parsed::Ip(packet) => unsafe { (*arrival).packet = packet },
        Parsed::Other => return XDP_PASS,
        Parsed::Unparsed(reason) => {
            if let Some(counter) = UNPARSED.get_ptr_mut(reason as u32) {
                add(counter, 1);
            }
            return XDP_PASS;
        }
    }
    // SAFETY: as above.
    let arrival = unsafe { &mut *arrival };
    arrival.bytes = (frame.end - frame.start) as u64;
    judge(arrival)
}

/// Charges a packet to every limit that speaks of its port; one that is over is enough to drop it.
#[inline(always)]
fn judge(arrival: &mut Arrival) -> u32 {
    arrival.rules = by_port(&RATE_PORTS, arrival.packet.protocol, arrival.packet.port);
    if arrival.rules.is_empty() {
        return XDP_PASS;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let drops = &raw mut arrival.drops;
    // SAFETY: a field of a live reference; volatile, so that the verifier doesn't follow each outcome on its own.
    unsafe { core::ptr::write_volatile(drops, 0) };
    let mut charged = 0;
    while charged < limits::LIMITS_PER_PORT {
        // SAFETY: as above.
        let mut rules = unsafe { core::ptr::read_volatile(&raw const arrival.rules) };
        let Some(index) = rules.take_first() else { break };
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut arrival.rules, rules) };
        if let Some(rule) = RATE_RULES.get(index)
            && charge(index, rule, &arrival.packet, arrival.bytes, now) == Outcome::Drop
        {
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(drops, 1) };
        }
        charged += 1;
    }
    // SAFETY: as above.
    if unsafe { core::ptr::read_volatile(drops) } == 0 { XDP_PASS } else { XDP_DROP }
}

#[inline(always)]
fn charge(index: u32, rule: &RateRule, packet: &Packet, bytes: u64, now: u64) -> Outcome {
    let key = BucketKey { source: packet.limited_by(), rule: index, zero: 0 };
    let mut outcome = Outcome::Pass;
    if let Some(bucket) = bucket(&key)
        && !within(bucket, rule, packet, bytes, now)
    {
        outcome = over(&key, bucket, rule, packet, now);
    }
    if let Some(counter) = PACKETS.get_ptr_mut(index * OUTCOMES + outcome as u32) {
        // SAFETY: a live map value.
        unsafe {
            add(&raw mut (*counter).packets, 1);
            add(&raw mut (*counter).bytes, bytes);
        }
    }
    outcome
}

/// The source's buckets, full ones if it is new.
#[inline(always)]
fn bucket(key: &BucketKey) -> Option<*mut Bucket> {
    if let Some(bucket) = BUCKETS.get_ptr_mut(key) {
        return Some(bucket);
    }
    const NO_EXIST: u64 = 1;
    // Another CPU may have been first: then its buckets are taken.
    let _ = BUCKETS.insert(key, Bucket::FULL, NO_EXIST);
    BUCKETS.get_ptr_mut(key)
}

#[inline(always)]
fn within(bucket: *mut Bucket, rule: &RateRule, packet: &Packet, bytes: u64, now: u64) -> bool {
    // SAFETY: fields of a live map value.
    let (connections, packets, volume) =
        unsafe { (&raw mut (*bucket).connections, &raw mut (*bucket).packets, &raw mut (*bucket).bytes) };
    (packet.opens == 0 || take(&rule.connections, connections, now, 1))
        && take(&rule.packets, packets, now, 1)
        && take(&rule.bytes, volume, now, bytes)
}

/// How often a charge is tried again when another CPU charged the same bucket in between.
const TRIES: u32 = 8;

/// Takes `cost` tokens, in one atomic step.
#[inline(always)]
fn take(limit: &Limit, bucket: *mut u64, now: u64, cost: u64) -> bool {
    if limit.per_token == 0 {
        return true;
    }
    let mut tries = 0;
    // SAFETY: a live map value.
    let mut seen = unsafe { core::ptr::read_volatile(bucket) };
    while tries < TRIES {
        let Some(after) = limit.charge(seen, now, cost) else { return false };
        // SAFETY: a live map value. SeqCst, because a weaker order gives a wrong result on this target.
        let (found, done) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, seen, after)
        };
        if done {
            return true;
        }
        seen = found;
        tries += 1;
    }
    // So many CPUs at once on one source: it is a flood.
    false
}

/// A packet over a limit: reported, and dropped unless something forbids it.
#[inline(always)]
fn over(key: &BucketKey, bucket: *mut Bucket, rule: &RateRule, packet: &Packet, now: u64) -> Outcome {
    if is_protected(packet) {
        return Outcome::Protected;
    }
    count(Kind::Limit, Count::Seen);
    // SAFETY: fields of a live map value.
    let (over, reported_ns) = unsafe { (&raw mut (*bucket).over, &raw mut (*bucket).reported_ns) };
    add(over, 1);
    // SAFETY: as above.
    let last = unsafe { core::ptr::read_volatile(reported_ns) };
    let due = last == 0 || now.wrapping_sub(last) as i64 >= REPORT_EVERY_NS as i64;
    // SAFETY: as above; see `take` for the order.
    let mine = due
        && unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                reported_ns,
                last,
                now,
            )
            .1
        };
    if mine {
        let decision = Decision { rule: key.rule as u16, verdict: verdict::DROP, mode: rule.mode as u8 };
        let source = Endpoint {
            addr: key.source,
            port: packet.port,
            protocol: packet.protocol,
            family: packet.family,
            zero: 0,
        };
        // SAFETY: as above.
        let over = unsafe { core::ptr::read_volatile(over) };
        emit(Kind::Limit, &limited::Limit { header: header(Kind::Limit, &decision, 0), source, over });
    } else {
        count(Kind::Limit, Count::Repeated);
    }
    if rule.mode == Mode::Enforce as u32 { Outcome::Drop } else { Outcome::WouldDrop }
}

/// Whether the packet is from an address or to a port that no rule may drop.
#[inline(always)]
fn is_protected(packet: &Packet) -> bool {
    const WHOLE: u32 = 128;
    (!packet.is_disguised() && PROTECTED.get(Key::new(WHOLE, packet.source)).is_some())
        // SAFETY: the entry is only looked for.
        || unsafe { PROTECTED_PORTS.get(port_index(packet.protocol, packet.port)) }.is_some()
}
