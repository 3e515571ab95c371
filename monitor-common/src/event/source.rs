//! A packet for a database from where none may come.

use super::{Endpoint, Header};

wire! {
    /// At most one a second for each source and rule.
    pub struct Source {
        /// When, and which rule.
        pub header: Header,
        /// The sender's address, and the local port it asked for.
        pub source: Endpoint,
    }
}
