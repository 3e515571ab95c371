//! A socket was bound.

use super::{Actor, Endpoint, Header};

wire! {
    /// A socket has a local address and port.
    pub struct Bind {
        /// When.
        pub header: Header,
        /// Who.
        pub actor: Actor,
        /// The local end, with the port the kernel chose if none was asked for.
        pub local: Endpoint,
    }
}
