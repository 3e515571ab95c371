//! Who is never dropped: prefixes and local ports, as the kernel has them.

use std::collections::HashSet;

use anyhow::Result;
use aya::maps::{HashMap, LpmTrie, MapData, lpm_trie::Key};
use monitor_common::addr::Addr;

use crate::kernel::load::Kernel;

/// `PROTECTED` and `PROTECTED_PORTS`.
pub(super) struct Protection {
    prefixes: LpmTrie<MapData, Addr, u8>,
    ports: HashMap<MapData, u32, u8>,
    known_prefixes: HashSet<(u32, [u8; 16])>,
    known_ports: HashSet<u32>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Whether anything is other than before.
    pub any: bool,
    /// Prefixes and ports that there was no room for.
    pub left_out: usize,
}

impl Protection {
    pub(super) fn new(kernel: &mut Kernel) -> Result<Self> {
        Ok(Self {
            prefixes: kernel.take("PROTECTED")?.try_into()?,
            ports: kernel.take("PROTECTED_PORTS")?.try_into()?,
            known_prefixes: HashSet::new(),
            known_ports: HashSet::new(),
        })
    }

    /// Writes what is other than before: new ones first, so that nobody who stays is without protection for a moment.
    pub(super) fn update(&mut self, prefixes: &[(Addr, u32)], ports: &[u32]) -> Changed {
        let mut changed = Changed::default();
        let wanted: HashSet<_> = prefixes.iter().map(|(addr, length)| (*length, addr.bytes)).collect();
        for (length, bytes) in wanted.difference(&self.known_prefixes.clone()) {
            match self.prefixes.insert(&Key::new(*length, Addr { bytes: *bytes }), 1, 0) {
                Ok(()) => changed.any |= self.known_prefixes.insert((*length, *bytes)),
                Err(_) => changed.left_out += 1,
            }
        }
        for (length, bytes) in self.known_prefixes.clone().difference(&wanted) {
            // One that can't be taken out is tried again the next time.
            if self.prefixes.remove(&Key::new(*length, Addr { bytes: *bytes })).is_ok() {
                changed.any |= self.known_prefixes.remove(&(*length, *bytes));
            }
        }
        let wanted: HashSet<u32> = ports.iter().copied().collect();
        for port in wanted.difference(&self.known_ports.clone()) {
            match self.ports.insert(port, 1, 0) {
                Ok(()) => changed.any |= self.known_ports.insert(*port),
                Err(_) => changed.left_out += 1,
            }
        }
        for port in self.known_ports.clone().difference(&wanted) {
            if self.ports.remove(port).is_ok() {
                changed.any |= self.known_ports.remove(port);
            }
        }
        changed
    }
}
