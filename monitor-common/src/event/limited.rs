//! A source went over a rate limit.

use super::{Endpoint, Header};

wire! {
    /// At most one a second for each source and rule.
    pub struct Limit {
        /// When, and which rule.
        pub header: Header,
        /// The source, masked to what the limit counts by, and the destination port of the packet at hand.
        pub source: Endpoint,
        /// Packets of this source that were over this limit since it last had its whole burst.
        pub over: u32,
        /// Code of [`crate::limit::Cause`].
        pub cause: u16,
        /// How many bits of the address the limit counts by: of 32 for IPv4, of 128 for IPv6.
        pub prefix: u16,
        /// How long the penalty is that this brought about, nanoseconds; 0: none.
        pub penalty_ns: u64,
    }
}
