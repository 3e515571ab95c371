//! A process ended.

use super::{Actor, Header};

wire! {
    /// The last thread of a process ended.
    pub struct Exit {
        /// When.
        pub header: Header,
        /// Who.
        pub actor: Actor,
        /// Wait status: exit code in bits 8 to 15, else the signal in bits 0 to 6.
        pub status: u32,
        /// Zero.
        pub zero: u32,
    }
}
