//! Who is never dropped: prefixes and local ports, as the kernel has them.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use anyhow::Result;
use aya::maps::{HashMap, LpmTrie, MapData, lpm_trie::Key};
use monitor_common::{addr::Addr, packet::TCP, policy::ports::port_index};

use crate::kernel::load::Kernel;

/// Bits of an address, those of IPv4 included.
const WHOLE: u32 = 128;

/// `PROTECTED` and `PROTECTED_PORTS`: what the policy names, and what the host needs whatever it names.
pub(super) struct Protection {
    prefixes: LpmTrie<MapData, Addr, u8>,
    ports: HashMap<MapData, u32, u8>,
    by_policy: Wanted,
    by_host: Wanted,
    known: Wanted,
}

/// Prefixes, with their length in bits of the 128, and port indices.
#[derive(Clone, Default)]
struct Wanted {
    prefixes: HashSet<(u32, [u8; 16])>,
    ports: HashSet<u32>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Whether anything is other than before.
    pub any: bool,
    /// Prefixes and ports that there was no room for.
    pub left_out: usize,
}

impl Protection {
    pub(super) fn new(kernel: &mut Kernel) -> Result<Self> {
        let (by_policy, by_host, known) = Default::default();
        Ok(Self {
            prefixes: kernel.take("PROTECTED")?.try_into()?,
            ports: kernel.take("PROTECTED_PORTS")?.try_into()?,
            by_policy,
            by_host,
            known,
        })
    }

    /// The policy names these now.
    pub(super) fn follow(&mut self, prefixes: &[(Addr, u32)], ports: &[u32]) -> Changed {
        self.by_policy = Wanted {
            prefixes: prefixes.iter().map(|(addr, length)| (*length, addr.bytes)).collect(),
            ports: ports.iter().copied().collect(),
        };
        self.update()
    }

    /// The host needs these now.
    pub(super) fn spare(&mut self, addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>) -> Changed {
        self.by_host = Wanted {
            prefixes: addresses.iter().map(|address| (WHOLE, Addr::from(*address).bytes)).collect(),
            ports: ports.iter().map(|port| port_index(TCP, *port)).collect(),
        };
        self.update()
    }

    /// All prefixes that the kernel has.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = (Addr, u32)> {
        self.known.prefixes.iter().map(|(length, bytes)| (Addr { bytes: *bytes }, *length))
    }

    /// Writes what is other than before: new ones first, so that nobody who stays is without protection for a moment.
    fn update(&mut self) -> Changed {
        let mut changed = Changed::default();
        let wanted = self.by_policy.and(&self.by_host);
        for (length, bytes) in wanted.prefixes.difference(&self.known.prefixes.clone()) {
            match self.prefixes.insert(&Key::new(*length, Addr { bytes: *bytes }), 1, 0) {
                Ok(()) => changed.any |= self.known.prefixes.insert((*length, *bytes)),
                Err(_) => changed.left_out += 1,
            }
        }
        for (length, bytes) in self.known.prefixes.clone().difference(&wanted.prefixes) {
            // One that can't be taken out is tried again the next time.
            if self.prefixes.remove(&Key::new(*length, Addr { bytes: *bytes })).is_ok() {
                changed.any |= self.known.prefixes.remove(&(*length, *bytes));
            }
        }
        for port in wanted.ports.difference(&self.known.ports.clone()) {
            match self.ports.insert(port, 1, 0) {
                Ok(()) => changed.any |= self.known.ports.insert(*port),
                Err(_) => changed.left_out += 1,
            }
        }
        for port in self.known.ports.clone().difference(&wanted.ports) {
            if self.ports.remove(port).is_ok() {
                changed.any |= self.known.ports.remove(port);
            }
        }
        changed
    }
}

impl Wanted {
    fn and(&self, other: &Self) -> Self {
        Self {
            prefixes: self.prefixes.union(&other.prefixes).copied().collect(),
            ports: self.ports.union(&other.ports).copied().collect(),
        }
    }
}
