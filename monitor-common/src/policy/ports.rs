//! How rules are found by protocol and port: an index into a flat table of rule sets.

use crate::packet::UDP;

/// Indices in a table of rules by port: 65,536 for TCP and as many for UDP.
pub const PORT_INDICES: u32 = 2 * 65_536;

/// Index of a port of TCP or UDP (any protocol that isn't UDP is taken for TCP).
#[inline(always)]
#[must_use]
pub const fn port_index(protocol: u8, port: u16) -> u32 {
    if protocol == UDP { 65_536 + port as u32 } else { port as u32 }
}
