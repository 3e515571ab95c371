//! A process was made.

use super::{Actor, Header};

wire! {
    /// A new process; threads are not reported.
    pub struct Fork {
        /// When.
        pub header: Header,
        /// Who made it.
        pub actor: Actor,
        /// Start time of the new process, nanoseconds since boot.
        pub child_start_ns: u64,
        /// Its id.
        pub child_pid: u32,
        /// Its parent: the maker, or the maker's parent (`CLONE_PARENT`).
        pub child_ppid: u32,
    }
}
