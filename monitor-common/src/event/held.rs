//! A connection to a database that was found by looking for it.

use super::{Actor, Endpoint, Header};

wire! {
    /// Who has it, and with whom.
    pub struct Held {
        /// When, and what was decided.
        pub header: Header,
        /// The process that has it.
        pub actor: Actor,
        /// The other end.
        pub remote: Endpoint,
        /// The process that opened it, 0 if it is older than the policy.
        pub opener_pid: u32,
        /// The first workload of the opener, or [`crate::limits::WORKLOADS`].
        pub opener_workload: u32,
    }
}

/// [`Header::flags`] of a held connection.
pub mod flags {
    /// It was closed.
    pub const CLOSED: u16 = 1;
}
