//! A conversation was about to be opened.

use super::{Actor, Endpoint, Header};

wire! {
    /// A connect, or a datagram to an address.
    pub struct Connect {
        /// When, and what was decided.
        pub header: Header,
        /// Who.
        pub actor: Actor,
        /// The other end.
        pub remote: Endpoint,
    }
}

/// [`Header::flags`] of a connect.
pub mod flags {
    /// A datagram sent without a connection.
    pub const DATAGRAM: u16 = 1;
}
