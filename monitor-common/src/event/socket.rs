//! A raw socket was asked for.

use super::{Actor, Header};

wire! {
    /// A socket that sees or sends packets past the transport protocols.
    pub struct Socket {
        /// When, and what was decided.
        pub header: Header,
        /// Who.
        pub actor: Actor,
        /// Address family: `AF_INET` 2, `AF_INET6` 10, `AF_PACKET` 17.
        pub family: u16,
        /// IP protocol, or for `AF_PACKET` the link protocol in host order.
        pub protocol: u16,
        /// Zero.
        pub zero: u32,
    }
}
