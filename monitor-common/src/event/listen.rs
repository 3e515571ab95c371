//! A socket began to listen.

use super::{Actor, Endpoint, Header};

wire! {
    /// A TCP socket accepts connections from now on.
    pub struct Listen {
        /// When.
        pub header: Header,
        /// Who.
        pub actor: Actor,
        /// The local end.
        pub local: Endpoint,
    }
}
