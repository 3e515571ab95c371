//! The rate limiter: a token bucket as one number.
//!
//! This is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A): a bucket is the
//! theoretical arrival time of the next token, so it needs one 64-bit word, one compare-and-swap makes a charge
//! atomic on all CPUs, and a fresh bucket is zero. From idle it lets `burst` tokens through at once; over any
//! time `t` at most `burst + rate * t`. A single charge above the burst (a run of merged segments) is let through by a
//! full bucket, and owed from then on.
//!
//! A bucket whose time has come is full, whoever it belonged to: that is what makes the table of sources
//! ([`crate::sources`]) forget nobody who matters.

wire! {
    /// A limit, ready for arithmetic.
    pub struct Limit {
        /// Time `1 << shift` tokens take to come back, in [`TICKS_PER_NS`]ths of a nanosecond. 0: no such limit.
        pub per_token: u64,
        /// Time that a whole burst takes to come back, in ticks.
        pub window: u64,
        /// See `per_token`: what makes rates of many bytes exact.
        pub shift: u32,
        /// More tokens than this cost as much as can be owed.
        pub most: u32,
    }

    /// What a source has to expect that goes over a limit.
    pub struct Penalty {
        /// How long it is dropped the first time, nanoseconds. 0: no penalty.
        pub for_ns: u64,
        /// The longest it is dropped, nanoseconds.
        pub max_ns: u64,
        /// By how much each further penalty is longer, in hundredths.
        pub factor: u32,
        /// How many packets over the limit bring it about, counted since the source last had its whole burst.
        pub after: u32,
    }

    /// A rate limit rule as the packet program reads it.
    pub struct RateRule {
        /// For every packet.
        pub packets: Limit,
        /// For every TCP segment that opens a connection (SYN without ACK).
        pub connections: Limit,
        /// For every byte from the link header on.
        pub bytes: Limit,
        /// For all packets together of sources that have no bucket yet.
        pub newcomers: Limit,
        /// For sources over a limit.
        pub penalty: Penalty,
        /// Which bits of an IPv4 source (in mapped form) tell sources apart, two words in network order.
        pub mask_v4: [u64; 2],
        /// The same for an IPv6 source.
        pub mask_v6: [u64; 2],
        /// Stays the same for as long as the rule has its name: buckets and penalties belong to it. Never 0.
        pub id: u64,
        /// Index of its counters: its place in the file.
        pub counter: u32,
        /// Code of [`crate::policy::Mode`], or that and [`crate::policy::Mode::OTHER_WHEN_STALE`].
        pub mode: u32,
        /// [`RateRule::WHOLE`] and so on.
        pub flags: u32,
        /// How many bits the masks have: of 32 for IPv4.
        pub prefix_v4: u16,
        /// Of 128 for IPv6.
        pub prefix_v6: u16,
    }

    /// What the packet program has to know of a policy before it knows the packet.
    pub struct RateHead {
        /// Rules that ask about the source's address: found in the table of prefixes.
        pub listed: crate::policy::RuleSet,
        /// Rules that hold without being listed there, for an address that is in no prefix.
        pub unlisted: crate::policy::RuleSet,
        /// Rules that ask about the interface.
        pub on_interfaces: crate::policy::RuleSet,
    }

    /// What is in force; one entry.
    pub struct RateState {
        /// Which half of the double tables counts: 0 or 1.
        pub generation: u32,
        /// [`RateState::BANNED_HOSTS`] and so on.
        pub bans: u32,
        /// Changes whenever the protected prefixes do.
        pub protection: u64,
    }

    /// What is known of an interface; its place in the table is the low bits of its index.
    pub struct Interface {
        /// Its index; 0 for a free place.
        pub index: u32,
        /// [`Interface::NO_LINK_HEADER`] or 0.
        pub flags: u32,
        /// By generation, which of the rules that ask about interfaces hold here.
        pub rules: [crate::policy::RuleSet; 2],
    }

    /// Key of the prefixes of rules: a generation and an address.
    pub struct SourceKey {
        /// 0 or 1, in network order.
        pub generation: u32,
        /// The address.
        pub addr: crate::addr::Addr,
    }

    /// Who is dropped: by a rule's penalty, or by hand.
    #[derive(Hash)]
    pub struct BanKey {
        /// The address, masked.
        pub addr: crate::addr::Addr,
        /// [`RateRule::id`]; 0 for a ban by hand of this one address, [`BanKey::NET_64`] for one of an IPv6 /64.
        pub rule: u64,
    }

    /// For how long, and how often it was.
    pub struct Ban {
        /// Nanoseconds of the monotonic clock; `u64::MAX` for good.
        pub until_ns: u64,
        /// How many penalties there were so far.
        pub strikes: u32,
        /// [`Ban::PROVEN`] or 0.
        pub flags: u32,
    }

    /// Key of the senders that a database refused.
    #[derive(Hash)]
    pub struct SenderKey {
        /// The sender.
        pub source: crate::addr::Addr,
        /// Index of the rule.
        pub rule: u32,
        /// Zero.
        pub zero: u32,
    }
}

/// Declares why a packet was over.
macro_rules! causes {
    ($($(#[$meta:meta])* $name:ident = $code:literal => $text:literal, $sentence:literal;)*) => {
        /// Why a packet was over a limit.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause { $($(#[$meta])* $name = $code,)* }

        impl Cause {
            /// All, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name that people and metrics use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in half a sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// From the code in a record.
            #[must_use]
            pub fn from_code(code: u16) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }
    };
}

causes! {
    /// Too many packets.
    Packets = 0 => "packets", "too many packets";
    /// Too many new connections.
    Connections = 1 => "connections", "too many new connections";
    /// Too many bytes.
    Bytes = 2 => "bytes", "too many bytes";
    /// Too many sources that were not known before.
    Newcomers = 3 => "newcomers", "too many sources that were not known before";
    /// No place for the source in the table, and too much from all those who had none.
    Crowd = 4 => "crowd", "too much from all those who have no place in the table of sources";
    /// It serves a penalty.
    Penalty = 5 => "penalty", "it serves a penalty";
}

/// Places kept for [`Cause`]s, a power of two.
pub const CAUSES: u32 = 8;

/// Ticks in a nanosecond. 64 keeps the rounding of 100 million tokens a second below 0.2 % and overflows after nine
/// years of uptime.
pub const TICKS_PER_NS: u64 = 64;
/// The longest time a full burst may stand for, in ticks (2.2 years): keeps the arithmetic below 2^63.
pub const WINDOW: u64 = 1 << 62;
/// Nanoseconds between two reports of the same source under the same rule.
pub const REPORT_EVERY_NS: u64 = 1_000_000_000;
/// The most tokens that one charge may take: bytes of a run that was merged from all the segments there can be.
pub const MOST_AT_ONCE: u64 = 1 << 23;
/// A limit whose burst stands for less time than this wants the exact clock; for others the kernel's coarse one does,
/// which steps by up to 10 ms (`CONFIG_HZ=100`) and is several times cheaper to read.
pub const COARSE_WINDOW_NS: u64 = 100_000_000;

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { per_token: 0, window: 0, shift: 0, most: 0 };

    /// A limit of `count` tokens in `per_ns` nanoseconds with `burst` tokens at once.
    ///
    /// `None` where the numbers can't be held: no tokens, no time, no burst, more than 64 tokens in a
    /// nanosecond, or a burst that takes longer than [`WINDOW`] to come back.
    #[must_use]
    pub fn new(count: u64, per_ns: u64, burst: u64) -> Option<Self> {
        /// Halvings of a tick that a token's price may be given in.
        const FINEST: u32 = 12;
        let ticks = u128::from(per_ns) * u128::from(TICKS_PER_NS);
        let (count, burst) = (u128::from(count), u128::from(burst));
        let priced = |shift: u32| ((ticks << shift) + count / 2).checked_div(count);
        let whole = priced(0)?;
        // The most that is ever multiplied with the price.
        let most = burst.max(u128::from(MOST_AT_ONCE));
        let fits = |shift: &u32| priced(*shift).is_some_and(|price| price * most <= u128::from(WINDOW));
        let shift = (0..=FINEST).rev().find(fits).unwrap_or(0);
        let per_token = priced(shift)?;
        let window = per_token.checked_mul(burst)? >> shift;
        if whole == 0 || burst == 0 || window > u128::from(WINDOW) || window == 0 {
            return None;
        }
        let most = (u128::from(WINDOW) / per_token).min(u128::from(u32::MAX));
        Some(Self { per_token: per_token as u64, window: window as u64, shift, most: most as u32 })
    }

    /// What a number of tokens stands for, in ticks.
    #[inline(always)]
    #[must_use]
    pub fn price(&self, tokens: u64) -> u64 {
        if tokens > self.most as u64 { WINDOW } else { tokens.wrapping_mul(self.per_token) >> self.shift }
    }

    /// How many things of so many tokens each may come at once, from idle. One may always: what is larger than the burst is owed.
    #[must_use]
    pub fn at_once(&self, tokens: u64) -> u64 {
        self.window.checked_div(self.price(tokens)).unwrap_or(u64::MAX).max(1)
    }

    /// Takes tokens worth `price` at `now` from a bucket that stands at `bucket`, both in ticks; the bucket's new value,
    /// or `None` if there are not enough.
    ///
    /// A `now` from a CPU whose clock is behind only makes the answer stricter by that difference.
    #[inline(always)]
    #[must_use]
    pub fn charge(&self, bucket: u64, now: u64, price: u64) -> Option<u64> {
        let start = if bucket > now { bucket } else { now };
        // A price above the window is for a full bucket.
        let needed = if price > self.window { self.window } else { price };
        // Neither sum can overflow: times, windows and prices stay below 2^62.
        if start.wrapping_sub(now).wrapping_add(needed) > self.window {
            return None;
        }
        Some(start.wrapping_add(price))
    }

    /// Takes tokens that were spent already, at most two windows deep in debt.
    #[inline(always)]
    #[must_use]
    pub fn debit(&self, bucket: u64, now: u64, price: u64) -> u64 {
        let start = if bucket > now { bucket } else { now };
        let deepest = now.wrapping_add(self.window).wrapping_add(self.window);
        let after = start.wrapping_add(price);
        if after > deepest { deepest } else { after }
    }
}

impl RateRule {
    /// Flag: everybody is counted together.
    pub const WHOLE: u32 = 1;
    /// Flag: a burst is short, so the exact clock is asked.
    pub const EXACT_CLOCK: u32 = 2;
    /// Flag: there is a limit of packets or bytes, so every packet is charged.
    pub const EVERY_PACKET: u32 = 4;
}

impl RateState {
    /// Flag: single addresses are banned by hand.
    pub const BANNED_HOSTS: u32 = 1;
    /// Flag: IPv6 networks of 64 bits are banned by hand.
    pub const BANNED_NET_64: u32 = 2;
    /// Flag: other networks are banned by hand.
    pub const BANNED_NETS: u32 = 4;
}

impl Interface {
    /// Flag: frames begin with the IP header.
    pub const NO_LINK_HEADER: u32 = 1;
}

impl BanKey {
    /// In place of a rule: the first 64 bits of an IPv6 address, by hand.
    pub const NET_64: u64 = 1;
}

impl Ban {
    /// Flag: it was seen that the address isn't forged, so connections that it holds are dropped, too.
    pub const PROVEN: u32 = 1;
}

/// How long the next penalty is, after a number of earlier ones.
#[inline(always)]
#[must_use]
pub fn penalty_ns(penalty: &Penalty, strikes: u32) -> u64 {
    let mut length = penalty.for_ns;
    let mut times = 0;
    // 64 doublings are more than any time there is.
    while times < 64 && times < strikes {
        // In this order nothing overflows that is below `max_ns`, a few years.
        length = length / 100 * penalty.factor as u64;
        if length >= penalty.max_ns {
            return penalty.max_ns;
        }
        times += 1;
    }
    if length > penalty.max_ns { penalty.max_ns } else { length }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    impl Limit {
        /// Takes `cost` tokens at `now_ns`.
        fn take(&self, bucket: u64, now_ns: u64, cost: u64) -> Option<u64> {
            self.charge(bucket, now_ns * TICKS_PER_NS, self.price(cost))
        }
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_no_more() {
        let limit = Limit::new(1000, SECOND, 7).unwrap();
        let mut bucket = 0;
        for _ in 0..7 {
            bucket = limit.take(bucket, 5 * SECOND, 1).unwrap();
        }
        assert_eq!(limit.take(bucket, 5 * SECOND, 1), None);
        assert!(limit.take(bucket, 5 * SECOND + SECOND / 1000, 1).is_some());
    }

    #[test]
    fn the_ends_of_the_range_are_exact() {
        // One an hour: the second one comes back after an hour and not a nanosecond earlier.
        let slow = Limit::new(1, 3600 * SECOND, 1).unwrap();
        let bucket = slow.take(0, SECOND, 1).unwrap();
        assert_eq!(slow.take(bucket, SECOND + 3600 * SECOND - 1, 1), None);
        assert!(slow.take(bucket, SECOND + 3600 * SECOND, 1).is_some());
        // 100 million a second: one every 10 ns.
        let fast = Limit::new(100_000_000, SECOND, 1).unwrap();
        let bucket = fast.take(0, SECOND, 1).unwrap();
        assert_eq!(fast.take(bucket, SECOND + 9, 1), None);
        assert!(fast.take(bucket, SECOND + 10, 1).is_some());
    }

    #[test]
    fn many_bytes_a_second_are_exact() {
        // 12.5 GB/s: 5.12 ticks a byte, which whole ticks would miss by 2 %.
        let limit = Limit::new(12_500_000_000, SECOND, 1 << 20).unwrap();
        let (price, due) = (limit.price(1 << 20), (1 << 20) * 512 / 100);
        assert!(price.abs_diff(due) < due / 10_000, "{price} {due}");
    }

    #[test]
    fn a_price_never_wraps() {
        let limit = Limit::new(1, 3600 * SECOND, 100).unwrap();
        assert_eq!(limit.price(u64::MAX), WINDOW);
        assert_eq!(limit.take(0, SECOND, u64::MAX), Some(WINDOW + SECOND * TICKS_PER_NS), "of a full bucket");
        assert_eq!(limit.debit(0, 7, WINDOW), 7 + 2 * limit.window);
    }

    #[test]
    fn penalties_grow_up_to_their_maximum() {
        let penalty = Penalty { for_ns: 60 * SECOND, max_ns: 3600 * SECOND, factor: 250, after: 1 };
        let lengths: std::vec::Vec<u64> =
            (0..6).map(|strikes| penalty_ns(&penalty, strikes) / SECOND).collect();
        assert_eq!(lengths, [60, 150, 375, 937, 2343, 3600]);
        assert_eq!(penalty_ns(&penalty, u32::MAX), 3600 * SECOND);
        assert_eq!(penalty_ns(&Penalty { factor: 100, ..penalty }, u32::MAX), 60 * SECOND);
    }

    #[test]
    fn what_cannot_be_held_is_refused() {
        assert_eq!(Limit::new(0, SECOND, 1), None);
        assert_eq!(Limit::new(1, 0, 1), None);
        assert_eq!(Limit::new(1, SECOND, 0), None);
        assert_eq!(Limit::new(u64::MAX, 1, 1), None);
        assert_eq!(Limit::new(1, 3600 * SECOND, u64::MAX), None);
    }

    #[test]
    fn a_clock_that_is_behind_never_gives_tokens() {
        let limit = Limit::new(10, SECOND, 5).unwrap();
        let bucket = (0..5).try_fold(0, |bucket, _| limit.take(bucket, 10 * SECOND, 1)).unwrap();
        assert_eq!(limit.take(bucket, 10 * SECOND - 1_000_000, 1), None);
    }

    proptest! {
        /// Against a bucket of exact fractions: `burst` tokens at most, `count / per_ns` back each nanosecond.
        #[test]
        fn follows_an_exact_bucket(
            count in 1u64..1_000_000,
            per_s in 1u64..3600,
            burst in 1u64..10_000,
            steps in prop::collection::vec((0u64..2 * SECOND, 1u64..50), 1..200),
        ) {
            let per_ns = per_s * SECOND;
            let limit = Limit::new(count, per_ns, burst).unwrap();
            let (mut now, mut bucket) = (3600 * SECOND, 0);
            // The exact one counts in ticks, with the limit's own price, so that both must agree.
            let full = i128::from(limit.window);
            let (mut level, mut then) = (full, now);
            for (idle, cost) in steps {
                now += idle;
                level = (level + i128::from(now - then) * i128::from(TICKS_PER_NS)).min(full);
                then = now;
                let price = i128::from(limit.price(cost));
                let answer = limit.take(bucket, now, cost);
                // More than the burst at once is for a full bucket, which then owes the rest.
                prop_assert_eq!(answer.is_some(), price.min(full) <= level);
                if let Some(after) = answer {
                    bucket = after;
                    level -= price;
                }
            }
        }

        /// Over any run, no more than limit + burst gets through, and a greedy sender gets all of it.
        #[test]
        fn a_flood_gets_the_limit_and_the_burst(count in 1u64..2_000_000, burst in 1u64..5000, gap in 1u64..100_000) {
            let limit = Limit::new(count, SECOND, burst).unwrap();
            let (start, mut bucket, mut passed) = (77 * SECOND, 0, 0u64);
            let tries = 20_000u64;
            for index in 0..tries {
                if let Some(after) = limit.take(bucket, start + index * gap, 1) {
                    bucket = after;
                    passed += 1;
                }
            }
            let elapsed = (tries - 1) * gap;
            let due = burst as f64 + count as f64 * elapsed as f64 / SECOND as f64;
            // 0.2 % is the rounding of a rate to ticks; one token is the one under way.
            prop_assert!(passed as f64 <= due * 1.002 + 1.0, "{} of {}", passed, due);
            // A sender slower than the limit loses nothing; a faster one gets all that is due, but for what comes
            // back between two of its packets.
            let offered = tries as f64;
            let per_gap = count as f64 * gap as f64 / SECOND as f64;
            prop_assert!(passed as f64 >= offered.min(due * 0.998 - 1.0 - per_gap), "{} of {}", passed, due);
        }
    }
}
