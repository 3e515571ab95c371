//! Who is dropped whatever they send: by a ban by hand, or by a rule's penalty.

use aya_ebpf::maps::lpm_trie::Key;
use core::intrinsics::{AtomicOrdering, atomic_or};
use monitor_common::{
    addr::Addr,
    count::{BAN_COUNTER, Outcome},
    limit::{Ban, BanKey, RateState},
    limits, sources,
};

use super::{Arrival, field, hash, over};
use crate::maps::{BAN_BITS, BAN_NETS, BANS};

/// The word of the table of bits that a hash belongs to, and its bit in there.
#[inline(always)]
fn bit_of(tag: u64) -> (u32, u64) {
    ((tag >> 12) as u32 & (limits::BAN_BITS - 1), 1 << ((tag >> 6) & 63))
}

/// Whether somebody with this hash may be banned; most who are not are told so by this.
#[inline(always)]
fn may_be_banned(tag: u64) -> bool {
    let (word, bit) = bit_of(tag);
    BAN_BITS.get(word).is_some_and(|bits| bits & bit != 0)
}

/// The ban of an address under a rule, if there ever was one.
#[inline(always)]
pub fn ban(tag: u64, addr: [u64; 2], rule: u64) -> Option<&'static Ban> {
    if !may_be_banned(tag) {
        return None;
    }
    // SAFETY: numbers, each read as a whole.
    unsafe { BANS.get(BanKey { addr: Addr::from_words(addr), rule }) }
}

/// Bans a source.
#[inline(always)]
pub fn impose(tag: u64, addr: [u64; 2], rule: u64, ban: &Ban) -> bool {
    let (word, bit) = bit_of(tag);
    if let Some(bits) = BAN_BITS.get_ptr_mut(word) {
        // SAFETY: a live map value; first the bit, so that nobody misses the ban.
        unsafe { atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(bits, bit) };
    }
    BANS.insert(BanKey { addr: Addr::from_words(addr), rule }, ban, 0).is_ok()
}

/// Whether the source is banned by hand, and not protected.
#[inline(always)]
pub fn is_banned(arrival: *mut Arrival, kinds: u32) -> bool {
    let source = field!(arrival, packet.source);
    let now_ns = field!(arrival, now_ns);
    let mut banned = false;
    if kinds & RateState::BANNED_HOSTS != 0 {
        banned = holds(arrival, source, 0, now_ns);
    }
    if !banned && kinds & RateState::BANNED_NET_64 != 0 && field!(arrival, packet.family) == 6 {
        banned = holds(arrival, [source[0], 0], BanKey::NET_64, now_ns);
    }
    if !banned && kinds & RateState::BANNED_NETS != 0 {
        let net = BAN_NETS.get(Key::new(128, Addr::from_words(source)));
        banned = net.is_some_and(|ban| ban.until_ns > now_ns);
    }
    if !banned || over::is_protected_now(arrival) {
        return false;
    }
    over::tally(arrival, BAN_COUNTER, Outcome::Drop as u32);
    true
}

#[inline(always)]
fn holds(arrival: *mut Arrival, addr: [u64; 2], rule: u64, now_ns: u64) -> bool {
    let tag = sources::tag_of(hash(arrival, addr), rule);
    ban(tag, addr, rule).is_some_and(|ban| ban.until_ns > now_ns)
}
