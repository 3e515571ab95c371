//! A packet over a limit: counted, reported, penalised, and dropped unless something forbids it.

use aya_ebpf::maps::lpm_trie::Key;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use monitor_common::{
    addr::Addr,
    count::{OUTCOMES, Outcome},
    event::{Endpoint, Kind, limited},
    limit::{Ban, CAUSES, Cause, RateRule, penalty_ns},
    policy::{Decision, Mode, verdict},
    sources::{CONTEST_BEATS, REPORT_PERIOD_NS, Slot},
};

use super::{
    Arrival, bans, field,
    limit::{beat, fact, masked},
    put,
    table::{self, read},
};
use crate::{
    emit::{emit_finding, header},
    global,
    maps::{OVER, PACKETS, PROTECTED, PROTECTED_PORTS, UNPARSED},
    policy::port_index,
    subject::is_stale,
};

/// Why a packet is over, and what is known of its source.
struct Over {
    /// Code of a [`Cause`].
    cause: u64,
    /// See [`fact`].
    whose: u64,
}

/// Books a packet under a rule.
#[inline(always)]
pub fn tally(arrival: *mut Arrival, counter: u32, outcome: u32) {
    if let Some(counts) = PACKETS.get_ptr_mut(counter * OUTCOMES + outcome) {
        let (segments, bytes) = (field!(arrival, segments), field!(arrival, bytes));
        // Not atomic: nothing else counts packets on this CPU meanwhile.
        // SAFETY: a live map value of this CPU.
        unsafe {
            (*counts).packets = (*counts).packets.wrapping_add(segments);
            (*counts).bytes = (*counts).bytes.wrapping_add(bytes);
        }
    }
}

/// Books a packet that could not be parsed.
#[inline(always)]
pub fn tally_unparsed(arrival: *mut Arrival, outcome: u32) {
    count(UNPARSED.get_ptr_mut(field!(arrival, reason) as u32 * OUTCOMES + outcome), 1);
}

#[inline(always)]
fn count(counter: Option<*mut u64>, amount: u64) {
    if let Some(counter) = counter {
        // SAFETY: a live map value of this CPU.
        unsafe { *counter = (*counter).wrapping_add(amount) };
    }
}

/// Decides what becomes of a packet that is over a limit, for a [`Cause`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rate_over(arrival: *mut Arrival, rule: *const RateRule, now: u64, cause: u64) -> u64 {
    if arrival.is_null() || rule.is_null() {
        return 0;
    }
    let whose = field!(arrival, whose);
    // SAFETY: not null, so it is what the caller had from a map.
    over(arrival, unsafe { &*rule }, now, Over { cause, whose });
    0
}

#[inline(always)]
fn over(arrival: *mut Arrival, rule: &RateRule, now: u64, over: Over) {
    let Some(slot) = table::slot(field!(arrival, set), field!(arrival, way)) else { return };
    if is_protected(arrival, slot) {
        return put!(arrival, outcome, Outcome::Protected as u64);
    }
    let mode = Mode::now(rule.mode as u8, is_stale);
    let enforced = mode == Mode::Enforce as u8;
    put!(arrival, outcome, if enforced { Outcome::Drop as u64 } else { Outcome::WouldDrop as u64 });
    count(
        OVER.get_ptr_mut(rule.counter * CAUSES + (over.cause as u32 & (CAUSES - 1))),
        field!(arrival, segments),
    );
    if over.cause == Cause::Penalty as u64 && over.whose & fact::PROVEN == 0 {
        return;
    }
    let (mut penalty, mut counts_anew) = (0, false);
    if over.whose & fact::OWN != 0 {
        contest(slot, now);
        // SAFETY: a field of a live map value. Not atomic: of two CPUs' counts at one moment, one may be missing.
        let times = unsafe {
            let at = &raw mut (*slot).over;
            let times = at.read_volatile().wrapping_add(1);
            at.write_volatile(times);
            times
        };
        if rule.penalty.for_ns != 0 && times >= rule.penalty.after && over.cause != Cause::Penalty as u64 {
            penalty = penalise(arrival, rule, over.whose);
            counts_anew = true;
        }
    }
    report(arrival, rule, slot, now, (over.cause, mode), penalty);
    if counts_anew {
        // After the report, which tells how many it took.
        // SAFETY: a field of a live map value.
        unsafe { (&raw mut (*slot).over).write_volatile(0) };
    }
}

/// From a refusal on, established connections of the source have buckets of their own: what it can't be blamed for mustn't
/// cut them off. They begin with what the source has left, so that a contest gives nobody more than the limit.
#[inline(always)]
fn contest(slot: *mut Slot, now: u64) {
    let beat = beat(now);
    // SAFETY: fields of a live map value.
    unsafe {
        let contested = &raw mut (*slot).contested;
        let since = contested.read_volatile();
        if since == 0 || beat.wrapping_sub(since) >= CONTEST_BEATS {
            (&raw mut (*slot).kept_packets).write_volatile(read(&raw const (*slot).packets));
            (&raw mut (*slot).kept_bytes).write_volatile(read(&raw const (*slot).bytes));
        }
        if since != beat {
            contested.write_volatile(beat);
        }
    }
}

/// Imposes a penalty; its length in nanoseconds, 0 where there is no room for it.
#[inline(always)]
fn penalise(arrival: *mut Arrival, rule: &RateRule, whose: u64) -> u64 {
    let (tag, addr) = (field!(arrival, tag), masked(arrival, rule));
    let strikes = bans::ban(tag, addr, rule.id).map_or(0, |ban| ban.strikes);
    let length = penalty_ns(&rule.penalty, strikes);
    // Whoever talks over a connection of this host has not forged their address.
    let flags = if whose & fact::KEPT != 0 { Ban::PROVEN } else { 0 };
    let until_ns = field!(arrival, now_ns).saturating_add(length);
    if bans::impose(tag, addr, rule.id, &Ban { until_ns, strikes: strikes.wrapping_add(1), flags }) {
        length
    } else {
        0
    }
}

/// Whether a report may go out: many sources over their limits at once mustn't keep the agent from its work, nor the
/// packets waiting for the ring. The counters have them all.
#[inline(always)]
fn may_report(arrival: *mut Arrival) -> bool {
    /// How far the time of the next report may be ahead.
    const AHEAD_NS: u64 = 1_000_000_000;
    let (now, next) = (field!(arrival, now_ns), field!(arrival, reports));
    let start = if next > now { next } else { now };
    if start.wrapping_sub(now) > AHEAD_NS {
        return false;
    }
    put!(arrival, reports, start.wrapping_add(REPORT_PERIOD_NS));
    true
}

/// Reports a source at most once a second, and each penalty.
#[inline(always)]
fn report(
    arrival: *mut Arrival,
    rule: &RateRule,
    slot: *mut Slot,
    now: u64,
    (cause, mode): (u64, u8),
    penalty_ns: u64,
) {
    let beat = beat(now);
    // SAFETY: a field of a live map value.
    let reported = unsafe { &raw mut (*slot).reported };
    // SAFETY: as above.
    let last = unsafe { reported.read_volatile() };
    if penalty_ns == 0 && (last != 0 && beat.wrapping_sub(last) < CONTEST_BEATS || !may_report(arrival)) {
        return;
    }
    // SAFETY: as above; for the order see `table::replace`.
    let mine = unsafe {
        atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(reported, last, beat).1
    };
    if !mine && penalty_ns == 0 {
        return;
    }
    let decision = Decision { rule: rule.counter as u16, verdict: verdict::DROP, mode };
    let source = Endpoint {
        addr: Addr::from_words(masked(arrival, rule)),
        port: field!(arrival, packet.port),
        protocol: field!(arrival, packet.protocol),
        family: field!(arrival, packet.family),
        zero: 0,
    };
    // SAFETY: as above.
    let over = unsafe { (&raw const (*slot).over).read_volatile() };
    let header = header(Kind::Limit, &decision, 0);
    let prefix = if source.family == 4 { rule.prefix_v4 } else { rule.prefix_v6 };
    emit_finding(
        Kind::Limit,
        &limited::Limit { header, source, over, cause: cause as u16, prefix, penalty_ns },
    );
}

/// Whether the packet is from an address or to a port that no rule may drop. A place remembers whom it was asked for last.
#[inline(always)]
fn is_protected(arrival: *mut Arrival, slot: *mut Slot) -> bool {
    let source = field!(arrival, packet.source);
    let port = port_index(field!(arrival, packet.protocol), field!(arrival, packet.port)) as u64;
    // Odd factors that nobody outside knows: who shares a place can't be mistaken for each other on purpose.
    let [one, other] = global!(SETTINGS.source_key).map(|half| half | 1);
    let mixed = source[0].wrapping_mul(one) ^ source[1].wrapping_mul(other) ^ port.wrapping_mul(other);
    let question = mixed.wrapping_add(field!(arrival, protection).wrapping_mul(one)) | 1;
    // SAFETY: a field of a live map value.
    let checked = unsafe { &raw mut (*slot).checked };
    if read(checked) == question {
        return false;
    }
    let protected = is_protected_now(arrival);
    if !protected {
        // SAFETY: as above.
        unsafe { checked.write_volatile(question) };
    }
    protected
}

/// The same, asked anew.
#[inline(always)]
pub fn is_protected_now(arrival: *mut Arrival) -> bool {
    const WHOLE: u32 = 128;
    let source = Addr::from_words(field!(arrival, packet.source));
    let port = port_index(field!(arrival, packet.protocol), field!(arrival, packet.port));
    PROTECTED.get(Key::new(WHOLE, source)).is_some()
        // SAFETY: the entry is only looked for.
        || unsafe { PROTECTED_PORTS.get(port) }.is_some()
}
