//! A unix socket with a name in the file system.

use super::{Actor, Header};

wire! {
    /// Followed by `path_len` bytes of path in the host's tree: where the listening socket's file lies.
    pub struct Unix {
        /// When, and what was decided.
        pub header: Header,
        /// Who.
        pub actor: Actor,
        /// Code of the [`crate::policy::masks::Direction`].
        pub direction: u16,
        /// Bytes of path.
        pub path_len: u16,
        /// Zero.
        pub zero: u32,
    }
}
