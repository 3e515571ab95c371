//! A source went over a rate limit.

use super::{Endpoint, Header};

wire! {
    /// At most one a second for each source and rule.
    pub struct Limit {
        /// When, and which rule.
        pub header: Header,
        /// The source, masked to what the limit counts by, and the destination port of the packet at hand.
        pub source: Endpoint,
        /// Packets of this source that were over this limit so far.
        pub over: u64,
    }
}
