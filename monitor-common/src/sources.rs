//! The table of sources: who has a bucket of their own, and who loses it to whom.
//!
//! A set-associative table in one flat array. A source's keyed hash says in which set of eight places it may be, and
//! which of the places to look at first. Nobody who owes something loses their place: only a free place, or one whose
//! buckets are all full again, is given to somebody else (the longest full one first). As a full bucket is what the newcomer
//! is due, nothing has to be reset, and one compare-and-swap of the tag is all there is to it.
//!
//! The hash is SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under a key that is drawn at
//! each start, so that nobody outside can choose sources that meet in one set.

use crate::{addr::Addr, limits};

/// Places in a set.
pub const WAYS: usize = 8;
/// Nanoseconds in a beat, the unit of the times that are kept in 32 bits: 1.05 ms, so that they come round after 52
/// days.
pub const BEAT_SHIFT: u32 = 20;
/// Nanoseconds between two reports of sources over a limit, on one CPU, when there are very many; so many as a second has of
/// them may come at once.
pub const REPORT_PERIOD_NS: u64 = 1_000_000;
/// For how long after a refusal a source's established connections are told from the rest of its packets, in beats: one
/// second.
pub const CONTEST_BEATS: u32 = 954;

wire! {
    /// What is kept of a source under a rule: as much as a processor's cache takes at once. Buckets are theoretical arrival
    /// times in ticks (see [`crate::limit`]).
    pub struct Slot {
        /// Of packets.
        pub packets: u64,
        /// Of new connections.
        pub connections: u64,
        /// Of bytes.
        pub bytes: u64,
        /// Of packets of established connections, while the source is contested.
        pub kept_packets: u64,
        /// The same of bytes.
        pub kept_bytes: u64,
        /// Hash of the address that was last found to be unprotected, and of the protection it was compared with.
        pub checked: u64,
        /// Packets over the limit since it last had its whole burst.
        pub over: u32,
        /// When it was last reported, in beats.
        pub reported: u32,
        /// When it was last refused, in beats, if it was; 0 else.
        pub contested: u32,
        /// Zero.
        pub zero: u32,
    }

    /// A set of places.
    pub struct Set {
        /// By place, the hash of who has it; 0 where it is free.
        pub tags: [u64; WAYS],
        /// What is kept of them.
        pub slots: [Slot; WAYS],
        /// Who they are, masked. Written after the tag: compare its hash with the tag. Only the agent reads them.
        pub addrs: [Addr; WAYS],
    }
}

impl Slot {
    /// Of nobody.
    pub const EMPTY: Self = Self {
        packets: 0,
        connections: 0,
        bytes: 0,
        kept_packets: 0,
        kept_bytes: 0,
        checked: 0,
        over: 0,
        reported: 0,
        contested: 0,
        zero: 0,
    };
}

/// The hash of a source under a rule, never 0. `address` is the masked address as two words in network order.
#[inline(always)]
#[must_use]
pub fn tag(key: [u64; 2], address: [u64; 2], rule: u64) -> u64 {
    tag_of(hash(key, address), rule)
}

/// The hash of an address, whatever the rule: costs more than all else that is done with it.
#[inline(always)]
#[must_use]
pub fn hash(key: [u64; 2], address: [u64; 2]) -> u64 {
    siphash13(key, address)
}

/// [`tag`] of an address with this [`hash`]. As nobody outside knows any bit of the hash, nobody can choose sources and rules
/// that meet, although everybody may know what the rule adds.
#[inline(always)]
#[must_use]
pub fn tag_of(hash: u64, rule: u64) -> u64 {
    let tag = hash ^ rule;
    if tag == 0 { 1 } else { tag }
}

/// In which of a number of sets (a power of two) a source is.
#[inline(always)]
#[must_use]
pub fn set_of(tag: u64, sets: u32) -> u32 {
    // The lowest bits choose the place in the set.
    (tag >> 3) as u32 & sets.wrapping_sub(1)
}

/// Sets behind the table whose places are shared by sources that found none of their own, by their hash: 4,096 places. A
/// power of two.
pub const CROWD_SETS: u32 = 512;
/// Sets behind those, with a place for each rule: of a rule that counts everybody together, and of its newcomers.
pub const SHARED_SETS: u32 = 2 * RULE_SETS;
const RULE_SETS: u32 = (limits::RULES as u32 + 1).div_ceil(WAYS as u32);

/// Sets in all, where the table has `sets`.
#[must_use]
pub const fn all_sets(sets: u32) -> u32 {
    sets + CROWD_SETS + SHARED_SETS
}

/// The set and place of those that have no place of their own.
#[inline(always)]
#[must_use]
pub fn crowd_of(tag: u64, sets: u32) -> (u32, u32) {
    // Bits that chose neither the set nor the place.
    let hash = (tag >> 40) as u32;
    (sets.wrapping_add((hash >> 3) & (CROWD_SETS - 1)), hash & 7)
}

/// The set and place where a rule, known by its counter, counts everybody together.
#[inline(always)]
#[must_use]
pub fn whole_of(counter: u32, sets: u32) -> (u32, u32) {
    (sets.wrapping_add(CROWD_SETS).wrapping_add(counter >> 3), counter & 7)
}

/// The set and place of a rule's newcomers: only the bucket of packets is used.
#[inline(always)]
#[must_use]
pub fn newcomers_of(counter: u32, sets: u32) -> (u32, u32) {
    let (set, way) = whole_of(counter, sets);
    (set.wrapping_add(RULE_SETS), way)
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// SipHash-1-3 of two words.
#[inline(always)]
fn siphash13(key: [u64; 2], words: [u64; 2]) -> u64 {
    const BYTES: u64 = 16;
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut index = 0;
    while index < 3 {
        let word = if index < 2 { words[index] } else { BYTES << 56 };
        v[3] ^= word;
        round(&mut v);
        v[0] ^= word;
        index += 1;
    }
    v[2] ^= 0xff;
    round(&mut v);
    round(&mut v);
    round(&mut v);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn a_place_is_one_line_of_a_cache() {
        const LINE: usize = 64;
        assert_eq!(size_of::<Slot>(), LINE);
        assert_eq!(size_of::<Set>() % LINE, 0);
        assert_eq!(core::mem::offset_of!(Set, slots) % LINE, 0);
    }

    proptest! {
        /// The standard library's default hasher is SipHash-1-3 under a key of zeros.
        #[test]
        fn is_the_hash_it_says(words: [u64; 2]) {
            let mut hasher = DefaultHasher::new();
            words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
            prop_assert_eq!(siphash13([0, 0], words), hasher.finish());
        }
    }

    #[test]
    fn sources_spread_evenly_over_sets() {
        const SETS: u32 = 256;
        let mut counts = [0u32; SETS as usize];
        for host in 0..25_600u64 {
            counts[set_of(tag([1, 2], [0, 0xffff_0a00_0000 + host], 7), SETS) as usize] += 1;
        }
        // 100 are expected, with a standard deviation of 10.
        assert!(counts.iter().all(|count| (40..=160).contains(count)), "{counts:?}");
    }
}
