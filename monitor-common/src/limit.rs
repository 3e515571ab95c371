//! The rate limiter: a token bucket as one number.
//!
//! This is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A): a bucket is the
//! theoretical arrival time of the next token, so it needs one 64-bit word, one compare-and-swap makes a charge
//! atomic on all CPUs, and a fresh bucket is zero. From idle it lets `burst` tokens through at once; over any
//! time `t` at most `burst + rate * t`.

wire! {
    /// A limit, ready for arithmetic.
    pub struct Limit {
        /// Time one token takes to come back, in [`TICKS_PER_NS`]ths of a nanosecond. 0: no such limit.
        pub per_token: u64,
        /// How many tokens may be taken at once.
        pub burst: u64,
    }

    /// A rate limit rule as the packet program reads it.
    pub struct RateRule {
        /// For every packet.
        pub packets: Limit,
        /// For every TCP segment that opens a connection (SYN without ACK).
        pub connections: Limit,
        /// For every byte from the link header on.
        pub bytes: Limit,
        /// Code of [`crate::policy::Mode`].
        pub mode: u32,
        /// Zero.
        pub zero: u32,
    }

    /// Key of a bucket.
    #[derive(Hash)]
    pub struct BucketKey {
        /// The source, masked ([`crate::packet::Packet::limited_by`]).
        pub source: crate::addr::Addr,
        /// Index of the rule.
        pub rule: u32,
        /// Zero.
        pub zero: u32,
    }

    /// The buckets of one source under one rule, each a theoretical arrival time in ticks since boot.
    pub struct Bucket {
        /// For packets.
        pub packets: u64,
        /// For connections.
        pub connections: u64,
        /// For bytes.
        pub bytes: u64,
        /// When the source was last reported, nanoseconds since boot.
        pub reported_ns: u64,
        /// Packets over the limit since the bucket was made.
        pub over: u64,
    }
}

/// Ticks in a nanosecond. 64 keeps the rounding of 100 million tokens a second below 0.2 % and overflows after nine
/// years of uptime.
pub const TICKS_PER_NS: u64 = 64;
/// The longest time a full burst may stand for, in ticks (2.2 years): keeps the arithmetic below 2^63.
pub const WINDOW: u64 = 1 << 62;
/// Nanoseconds between two reports of the same source under the same rule.
pub const REPORT_EVERY_NS: u64 = 1_000_000_000;

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { per_token: 0, burst: 0 };

    /// A limit of `count` tokens in `per_ns` nanoseconds with `burst` tokens at once.
    ///
    /// `None` where the numbers can't be held: no tokens, no time, no burst, more than 64 tokens in a
    /// nanosecond, or a burst that takes longer than [`WINDOW`] to come back.
    #[must_use]
    pub fn new(count: u64, per_ns: u64, burst: u64) -> Option<Self> {
        let ticks = u128::from(per_ns) * u128::from(TICKS_PER_NS);
        // To the nearest tick.
        let per_token = (ticks + u128::from(count) / 2).checked_div(u128::from(count))?;
        let window = per_token.checked_mul(u128::from(burst))?;
        if per_token == 0 || burst == 0 || window > u128::from(WINDOW) {
            return None;
        }
        Some(Self { per_token: per_token as u64, burst })
    }

    /// Takes `cost` tokens at `now_ns` from a bucket that stands at `bucket`; the bucket's new value, or `None` if
    /// there are not enough.
    ///
    /// A `now_ns` from a CPU whose clock is behind only makes the answer stricter by that difference.
    #[inline(always)]
    #[must_use]
    pub fn charge(&self, bucket: u64, now_ns: u64, cost: u64) -> Option<u64> {
        if cost > self.burst {
            return None;
        }
        let now = now_ns.wrapping_mul(TICKS_PER_NS);
        let start = if bucket > now { bucket } else { now };
        // Neither product can overflow: `cost <= burst` and `burst * per_token <= WINDOW`.
        let after = start.wrapping_add(cost.wrapping_mul(self.per_token));
        let window = self.burst.wrapping_mul(self.per_token);
        if after.wrapping_sub(now) > window { None } else { Some(after) }
    }
}

impl Bucket {
    /// A full bucket.
    pub const FULL: Self = Self { packets: 0, connections: 0, bytes: 0, reported_ns: 0, over: 0 };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_full_bucket_gives_its_burst_and_no_more() {
        let limit = Limit::new(1000, SECOND, 7).unwrap();
        let mut bucket = 0;
        for _ in 0..7 {
            bucket = limit.charge(bucket, 5 * SECOND, 1).unwrap();
        }
        assert_eq!(limit.charge(bucket, 5 * SECOND, 1), None);
        assert!(limit.charge(bucket, 5 * SECOND + SECOND / 1000, 1).is_some());
    }

    #[test]
    fn the_ends_of_the_range_are_exact() {
        // One an hour: the second one comes back after an hour and not a nanosecond earlier.
        let slow = Limit::new(1, 3600 * SECOND, 1).unwrap();
        let bucket = slow.charge(0, SECOND, 1).unwrap();
        assert_eq!(slow.charge(bucket, SECOND + 3600 * SECOND - 1, 1), None);
        assert!(slow.charge(bucket, SECOND + 3600 * SECOND, 1).is_some());
        // 100 million a second: one every 10 ns.
        let fast = Limit::new(100_000_000, SECOND, 1).unwrap();
        let bucket = fast.charge(0, SECOND, 1).unwrap();
        assert_eq!(fast.charge(bucket, SECOND + 9, 1), None);
        assert!(fast.charge(bucket, SECOND + 10, 1).is_some());
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
        let bucket = (0..5).try_fold(0, |bucket, _| limit.charge(bucket, 10 * SECOND, 1)).unwrap();
        assert_eq!(limit.charge(bucket, 10 * SECOND - 1_000_000, 1), None);
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
            // The exact one counts in token-ticks, with the rounded rate of the limit, so that both must agree.
            let per_token = u128::from(limit.per_token);
            let full = u128::from(burst) * per_token;
            let (mut level, mut then) = (full, now);
            for (idle, cost) in steps {
                now += idle;
                level = (level + u128::from(now - then) * u128::from(TICKS_PER_NS)).min(full);
                then = now;
                let need = u128::from(cost) * per_token;
                let answer = limit.charge(bucket, now, cost);
                prop_assert_eq!(answer.is_some(), need <= level);
                if let Some(after) = answer {
                    bucket = after;
                    level -= need;
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
                if let Some(after) = limit.charge(bucket, start + index * gap, 1) {
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
