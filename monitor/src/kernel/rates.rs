//! The kernel's tables of rate limits: double, with one switch between the halves.

mod protection;

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, LpmTrie, MapData, lpm_trie::Key};
use monitor_common::{
    addr::Addr,
    count::UNPARSED_RULE,
    limit::{Interface, RateHead, RateRule, RateState, SourceKey},
    limits,
    policy::{RuleSet, ports::PORT_INDICES},
};

use self::protection::{Changed, Protection};
use super::load::Kernel;
use crate::{host::clock::since_boot_ns, policy::Compiled};

/// Bits of a [`SourceKey`] in front of the address.
const GENERATION_BITS: u32 = 32;

/// Longer than a packet is judged.
const PACKET: std::time::Duration = std::time::Duration::from_millis(5);

/// The tables of rate limits, and what of them is in force.
pub struct Rates {
    tables: Mutex<Tables>,
}

struct Tables {
    /// As it is in the kernel.
    current: RateState,
    state: Array<MapData, RateState>,
    heads: Array<MapData, RateHead>,
    rules: Array<MapData, RateRule>,
    ports: Array<MapData, RuleSet>,
    interfaces: Array<MapData, Interface>,
    sources: LpmTrie<MapData, SourceKey, RuleSet>,
    protection: Protection,
    /// By generation, the entries that have to go before the half is used again.
    used: [Used; 2],
}

#[derive(Default)]
struct Used {
    ports: Vec<u32>,
    sources: Vec<(u32, Addr)>,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("current", &self.tables().current).finish_non_exhaustive()
    }
}

impl Rates {
    /// Takes over the tables.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        let tables = Tables {
            // The table of sources outlives a generation, and remembers by this number whom it was asked for: another one than
            // any generation before had.
            current: RateState { generation: 0, bans: 0, protection: since_boot_ns() },
            state: kernel.take("RATE_STATE")?.try_into()?,
            heads: kernel.take("RATE_HEADS")?.try_into()?,
            rules: kernel.take("RATE_RULES")?.try_into()?,
            ports: kernel.take("RATE_PORTS")?.try_into()?,
            interfaces: kernel.take("INTERFACES")?.try_into()?,
            sources: kernel.take("RATE_SOURCES")?.try_into()?,
            protection: Protection::new(kernel)?,
            used: Default::default(),
        };
        Ok(Self { tables: Mutex::new(tables) })
    }

    /// Puts the rate limits of a policy in force: writes the half that isn't, then switches. Buckets, penalties and bans
    /// stay as they are. `interfaces` are those that have an entry.
    ///
    /// # Errors
    /// When the kernel refuses an entry; then what was in force still is.
    pub fn apply(&self, policy: &Compiled, interfaces: &[(String, u32)]) -> Result<()> {
        let mut tables = self.tables();
        tables.apply(policy, interfaces)?;
        // A packet that read the old generation is done with it before anybody can clear its half.
        std::thread::sleep(PACKET);
        Ok(())
    }

    /// Says which addresses and which local TCP ports are never dropped, besides what the policy says. How many there was no
    /// room for.
    ///
    /// # Errors
    /// When the kernel refuses to put it in force.
    pub fn spare(&self, addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>) -> Result<usize> {
        let mut tables = self.tables();
        let Changed { any, left_out } = tables.protection.spare(addresses, ports);
        if any {
            let protection = tables.current.protection.wrapping_add(1);
            tables.set(|state| state.protection = protection).context("can't put the protection in force")?;
        }
        Ok(left_out)
    }

    /// All prefixes that are never dropped, with their length in bits of the 128.
    #[must_use]
    pub fn protected(&self) -> Vec<(Addr, u32)> {
        self.tables().protection.prefixes().collect()
    }

    /// Says which kinds of bans there are, from what was said before ([`RateState::bans`]).
    ///
    /// # Errors
    /// When the kernel refuses it; then nothing is changed.
    pub fn change_bans(&self, change: impl FnOnce(u32) -> u32) -> Result<()> {
        let mut tables = self.tables();
        let bans = change(tables.current.bans);
        tables.set(|state| state.bans = bans).context("can't say which bans there are")
    }

    /// Says which rules hold on an interface, and what its frames begin with. Must come before it is attached to.
    ///
    /// # Errors
    /// When the kernel refuses the entry.
    pub fn know_interface(&self, index: u32, link_header: bool, rules: RuleSet) -> Result<()> {
        let flags = if link_header { 0 } else { Interface::NO_LINK_HEADER };
        self.write_interface(index, Interface { index, flags, rules: [rules; 2] })
    }

    /// Forgets an interface: rules that ask about interfaces don't hold there.
    ///
    /// # Errors
    /// When the kernel refuses the entry.
    pub fn forget_interface(&self, index: u32) -> Result<()> {
        self.write_interface(index, Interface { index: 0, flags: 0, rules: [RuleSet::EMPTY; 2] })
    }

    fn write_interface(&self, index: u32, entry: Interface) -> Result<()> {
        let mut tables = self.tables();
        tables.interfaces.set(index % limits::INTERFACES, entry, 0).context("can't write INTERFACES")
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Changes what is in force for the next packet. The kernel copies whole words, and each is of one owner or changes as
    /// one.
    fn set(&mut self, change: impl FnOnce(&mut RateState)) -> Result<()> {
        let mut next = self.current;
        change(&mut next);
        if next != self.current {
            self.state.set(0, next, 0)?;
            self.current = next;
        }
        Ok(())
    }

    fn apply(&mut self, policy: &Compiled, interfaces: &[(String, u32)]) -> Result<()> {
        let generation = self.current.generation ^ 1;
        self.clear(generation)?;
        self.write(generation, policy).context("can't write the rate limits")?;
        for (name, index) in interfaces {
            let mut entry = self.interfaces.get(&(index % limits::INTERFACES), 0)?;
            entry.rules[generation as usize] = policy.interfaces.rules_on(name);
            self.interfaces.set(index % limits::INTERFACES, entry, 0).context("can't write INTERFACES")?;
        }
        let Changed { left_out, .. } = self.protection.follow(&policy.protected, &policy.protected_ports);
        if left_out > 0 {
            bail!("there are {left_out} protected prefixes or ports more than the kernel's tables hold");
        }
        let protection = self.current.protection.wrapping_add(1);
        self.set(|state| *state = RateState { generation, protection, ..*state })
            .context("can't put the rate limits in force")
    }

    fn clear(&mut self, generation: u32) -> Result<()> {
        let used = std::mem::take(&mut self.used[generation as usize]);
        for index in used.ports {
            self.ports.set(index, RuleSet::EMPTY, 0)?;
        }
        for (length, addr) in used.sources {
            self.sources.remove(&key(generation, length, addr))?;
        }
        Ok(())
    }

    fn write(&mut self, generation: u32, policy: &Compiled) -> Result<()> {
        let first = generation * limits::RULES as u32;
        for (index, rule) in policy.rate_rules.iter().enumerate() {
            self.rules.set(first + index as u32, rule, 0)?;
        }
        self.rules.set(first + UNPARSED_RULE, policy.unparsed_rule, 0)?;
        self.heads.set(generation, policy.rate_head, 0)?;
        for (index, rules) in &policy.rate_ports {
            let at = generation * PORT_INDICES + index;
            self.used[generation as usize].ports.push(at);
            self.ports.set(at, rules, 0)?;
        }
        for (length, addr, rules) in policy.rate_sources.entries() {
            self.used[generation as usize].sources.push((length, addr));
            self.sources.insert(&key(generation, length, addr), rules, 0)?;
        }
        Ok(())
    }
}

fn key(generation: u32, length: u32, addr: Addr) -> Key<SourceKey> {
    Key::new(GENERATION_BITS + length, SourceKey { generation: generation.to_be(), addr })
}
