//! Access to another process's memory.

use super::{Actor, Header};

wire! {
    /// Who asked for whose memory.
    pub struct Memory {
        /// When, and what was decided.
        pub header: Header,
        /// Who asked.
        pub actor: Actor,
        /// Start time of the other process, nanoseconds since boot.
        pub target_start_ns: u64,
        /// Its process id.
        pub target_pid: u32,
        /// Zero.
        pub zero: u32,
    }
}
