//! One rate limit and one packet.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use monitor_common::{
    addr::Addr,
    count::Outcome,
    limit::{Ban, Cause, Limit, RateRule, TICKS_PER_NS},
    limits,
    packet::TCP,
    sources::{self, BEAT_SHIFT, CONTEST_BEATS, Slot},
};

use super::{
    Arrival, Direct, Hook, bans,
    established::is_established,
    field, hash, over, put,
    table::{self, read, replace},
};
use crate::{global, maps::RATE_RULES};

/// What is known of the source under the rule at hand.
pub mod fact {
    /// It has a place of its own.
    pub const OWN: u64 = 1;
    /// It has none yet.
    pub const NEW: u64 = 2;
    /// And there are too many of those.
    pub const CROWDED_OUT: u64 = 4;
    /// It was refused a moment ago, so established connections are told from the rest.
    pub const CONTESTED: u64 = 8;
    /// It serves a penalty.
    pub const PENALISED: u64 = 16;
    /// And its connections, too.
    pub const PROVEN: u64 = 32;
    /// The packet is of a connection that is kept apart.
    pub const KEPT: u64 = 64;
}

/// Charges a packet to a rule; whether it is to be dropped.
#[inline(always)]
pub fn drops(arrival: *mut Arrival, hook: &impl Hook, frame: &Direct, index: u32) -> bool {
    let at = field!(arrival, generation) as u32 * limits::RULES as u32 + index;
    let Some(rule) = RATE_RULES.get(at) else { return false };
    put!(arrival, outcome, Outcome::Pass as u64);
    charge(arrival, hook, frame, rule);
    let outcome = field!(arrival, outcome) as u32;
    over::tally(arrival, rule.counter, outcome);
    if index == monitor_common::count::UNPARSED_RULE {
        over::tally_unparsed(arrival, outcome);
    }
    outcome == Outcome::Drop as u32
}

#[inline(always)]
fn charge(arrival: *mut Arrival, hook: &impl Hook, frame: &Direct, rule: &RateRule) {
    let opens = field!(arrival, packet.opens) != 0;
    if rule.flags & RateRule::EVERY_PACKET == 0 && !opens && rule.penalty.for_ns == 0 {
        return;
    }
    let now = clock(arrival, rule).wrapping_mul(TICKS_PER_NS);
    rate_place(arrival, rule, now);
    let later = field!(arrival, packet.protocol) == TCP && !opens;
    let doubtful = fact::CROWDED_OUT | fact::CONTESTED | fact::PENALISED;
    let holds = later && field!(arrival, whose) & doubtful != 0 && is_established(arrival, hook, frame);
    let whose = field!(arrival, whose);
    if whose & fact::PENALISED != 0 && (whose & fact::PROVEN != 0 || !holds) {
        return refuse(arrival, rule, now, Cause::Penalty as u64);
    }
    if whose & fact::CROWDED_OUT != 0 && !holds {
        return refuse(arrival, rule, now, Cause::Newcomers as u64);
    }
    if whose & fact::NEW != 0 {
        rate_settle(arrival, rule, now);
    }
    let kept = if holds && whose & (fact::CONTESTED | fact::PENALISED) != 0 { fact::KEPT } else { 0 };
    put!(arrival, whose, field!(arrival, whose) | kept);
    let cause = rate_spend(arrival, rule, now);
    if cause != WITHIN {
        refuse(arrival, rule, now, cause);
    } else if kept != 0 {
        put!(arrival, outcome, Outcome::Spared as u64);
    }
}

#[inline(always)]
fn refuse(arrival: *mut Arrival, rule: &RateRule, now: u64, cause: u64) {
    over::rate_over(arrival, rule, now, cause);
}

/// The time for a rule, nanoseconds.
#[inline(always)]
fn clock(arrival: *mut Arrival, rule: &RateRule) -> u64 {
    if rule.flags & RateRule::EXACT_CLOCK != 0 && global!(SETTINGS.simulated) == 0 {
        // SAFETY: a helper without arguments.
        return unsafe { bpf_ktime_get_ns() };
    }
    field!(arrival, now_ns)
}

// VERIFIER: what follows are global functions (their symbols are exported, their arguments are numbers and pointers to
// structs): each is verified once, whatever its callers know, instead of once for each way to get there. They return a
// number because older kernels want one.

/// Finds the source's place under a rule, and what is known of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rate_place(arrival: *mut Arrival, rule: *const RateRule, now: u64) -> u64 {
    if arrival.is_null() || rule.is_null() {
        return 0;
    }
    // SAFETY: not null, so it is what the caller had from a map.
    place(arrival, unsafe { &*rule }, now);
    0
}

#[inline(always)]
fn place(arrival: *mut Arrival, rule: &RateRule, now: u64) {
    let sets = global!(SETTINGS.source_sets);
    if rule.flags & RateRule::WHOLE != 0 {
        let (set, way) = sources::whole_of(rule.counter, sets);
        return put_place(arrival, set as u64, way as u64, 0);
    }
    let source = masked(arrival, rule);
    let tag = sources::tag_of(hash(arrival, source), rule.id);
    put!(arrival, tag, tag);
    let mut facts = 0;
    if rule.penalty.for_ns != 0
        && let Some(ban) = bans::ban(tag, source, rule.id)
        && ban.until_ns > field!(arrival, now_ns)
    {
        facts = fact::PENALISED | if ban.flags & Ban::PROVEN != 0 { fact::PROVEN } else { 0 };
    }
    if let Some((set, way)) = table::find(tag) {
        if let Some(slot) = table::slot(set, way)
            && is_contested(slot, now)
        {
            facts |= fact::CONTESTED;
        }
        return put_place(arrival, set, way, facts | fact::OWN);
    }
    let (set, way) = sources::newcomers_of(rule.counter, sets);
    facts |= fact::NEW;
    if facts & fact::PENALISED == 0
        && let Some(slot) = table::slot(set as u64, way as u64)
    {
        // SAFETY: a field of a live map value.
        let bucket = unsafe { &raw mut (*slot).packets };
        let price = rule.newcomers.price(1);
        if rule.newcomers.per_token != 0 && rate_take(bucket, now, price, rule.newcomers.window) == 0 {
            facts |= fact::CROWDED_OUT;
        }
    }
    put_place(arrival, set as u64, way as u64, facts);
}

#[inline(always)]
fn put_place(arrival: *mut Arrival, set: u64, way: u64, facts: u64) {
    put!(arrival, set, set);
    put!(arrival, way, way);
    put!(arrival, whose, facts);
}

/// The source as far as a rule tells sources apart.
#[inline(always)]
pub fn masked(arrival: *mut Arrival, rule: &RateRule) -> [u64; 2] {
    let source = field!(arrival, packet.source);
    let mask = if field!(arrival, packet.family) == 4 { &rule.mask_v4 } else { &rule.mask_v6 };
    [source[0] & mask[0], source[1] & mask[1]]
}

/// A moment of the time that is kept in 32 bits; never 0.
#[inline(always)]
pub fn beat(now: u64) -> u32 {
    let beat = ((now / TICKS_PER_NS) >> BEAT_SHIFT) as u32;
    if beat == 0 { 1 } else { beat }
}

#[inline(always)]
fn is_contested(slot: *const Slot, now: u64) -> bool {
    // SAFETY: a field of a live map value.
    let since = unsafe { core::ptr::read_volatile(&raw const (*slot).contested) };
    since != 0 && beat(now).wrapping_sub(since) < CONTEST_BEATS
}

/// Gives a newcomer a place of its own, or one among those who share.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rate_settle(arrival: *mut Arrival, rule: *const RateRule, now: u64) -> u64 {
    if arrival.is_null() || rule.is_null() {
        return 0;
    }
    // SAFETY: as above.
    settle(arrival, unsafe { &*rule }, now);
    0
}

#[inline(always)]
fn settle(arrival: *mut Arrival, rule: &RateRule, now: u64) {
    let tag = field!(arrival, tag);
    let facts = field!(arrival, whose) & (fact::PENALISED | fact::PROVEN);
    let Some((set, way)) = table::claim(tag, now) else {
        let (set, way) = sources::crowd_of(tag, global!(SETTINGS.source_sets));
        return put_place(arrival, set as u64, way as u64, facts);
    };
    table::put_addr(set, way, Addr::from_words(masked(arrival, rule)));
    if let Some(slot) = table::slot(set, way) {
        // The buckets are full, whoever they belonged to; the rest begins anew.
        // SAFETY: fields of a live map value; who else reads them takes them for hints.
        unsafe {
            (*slot).over = 0;
            (*slot).reported = 0;
            (*slot).contested = 0;
        }
    }
    put_place(arrival, set, way, facts | fact::OWN);
}

/// Instead of a [`Cause`]: within all limits.
const WITHIN: u64 = u64::MAX;

/// Takes what the packet costs out of the buckets at hand. A packet that is refused costs nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rate_spend(arrival: *mut Arrival, rule: *const RateRule, now: u64) -> u64 {
    if arrival.is_null() || rule.is_null() {
        return WITHIN;
    }
    // SAFETY: as above.
    spend(arrival, unsafe { &*rule }, now)
}

#[inline(always)]
fn spend(arrival: *mut Arrival, rule: &RateRule, now: u64) -> u64 {
    let Some(slot) = table::slot(field!(arrival, set), field!(arrival, way)) else { return WITHIN };
    let whose = field!(arrival, whose);
    let kept = whose & fact::KEPT != 0;
    // SAFETY: fields of a live map value.
    let (packets, connections, bytes) = unsafe {
        let (kept_packets, kept_bytes) = (&raw mut (*slot).kept_packets, &raw mut (*slot).kept_bytes);
        (
            if kept { kept_packets } else { &raw mut (*slot).packets },
            &raw mut (*slot).connections,
            if kept { kept_bytes } else { &raw mut (*slot).bytes },
        )
    };
    let opens = field!(arrival, packet.opens) != 0 && rule.connections.per_token != 0;
    let one = rule.connections.price(1);
    let segments = rule.packets.price(field!(arrival, segments));
    let volume = rule.bytes.price(field!(arrival, bytes));
    let full = read(packets) <= now && read(bytes) <= now && read(connections) <= now;
    if opens && !fits(&rule.connections, connections, now, one) {
        return Cause::Connections as u64;
    }
    if !fits(&rule.packets, packets, now, segments) {
        return Cause::Packets as u64;
    }
    if !fits(&rule.bytes, bytes, now, volume) {
        return Cause::Bytes as u64;
    }
    if opens && rate_take(connections, now, one, rule.connections.window) == 0 {
        return Cause::Connections as u64;
    }
    if rule.packets.per_token != 0 && rate_take(packets, now, segments, rule.packets.window) == 0 {
        return Cause::Packets as u64;
    }
    if rule.bytes.per_token != 0 && rate_take(bytes, now, volume, rule.bytes.window) == 0 {
        return Cause::Bytes as u64;
    }
    if kept {
        // SAFETY: fields of a live map value.
        let (packets, bytes) = unsafe { (&raw mut (*slot).packets, &raw mut (*slot).bytes) };
        // What connections spend is not there for the rest of the source, so that both together keep to the limit.
        debit(&rule.packets, packets, now, segments);
        debit(&rule.bytes, bytes, now, volume);
    } else if full && whose & fact::OWN != 0 {
        // SAFETY: as above.
        let over = unsafe { &raw mut (*slot).over };
        // SAFETY: as above.
        unsafe {
            if over.read_volatile() != 0 {
                over.write_volatile(0);
            }
        }
    }
    WITHIN
}

#[inline(always)]
fn fits(limit: &Limit, bucket: *mut u64, now: u64, price: u64) -> bool {
    limit.per_token == 0 || limit.charge(read(bucket), now, price).is_some()
}

/// Spends without asking. If other CPUs keep changing the bucket, they spend as well.
#[inline(always)]
fn debit(limit: &Limit, bucket: *mut u64, now: u64, price: u64) {
    if limit.per_token == 0 {
        return;
    }
    let mut tries = 0;
    let mut seen = read(bucket);
    while tries < 4 {
        match replace(bucket, seen, limit.debit(seen, now, price)) {
            Ok(()) => return,
            Err(found) => seen = found,
        }
        tries += 1;
    }
}

/// How often a charge is tried again when another CPU charged the same bucket in between, before it is made without
/// looking.
const TRIES: u32 = 8;

/// Takes what costs `price` out of a bucket, in one atomic step: 1, or 0 if there is not enough in it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rate_take(bucket: *mut u64, now: u64, price: u64, window: u64) -> u64 {
    if bucket.is_null() {
        return 1;
    }
    let limit = Limit { per_token: 1, window, shift: 0, most: 0 };
    let mut tries = 0;
    let mut seen = read(bucket);
    while tries < TRIES {
        let Some(after) = limit.charge(seen, now, price) else { return 0 };
        match replace(bucket, seen, after) {
            Ok(()) => return 1,
            Err(found) => seen = found,
        }
        tries += 1;
    }
    // So many CPUs at once: the charge is added whatever the others do, and taken back if it was too much.
    table::take_anyway(bucket, now, price, window)
}
