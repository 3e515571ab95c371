//! The tables of bans that the packet program asks.

use std::{io, sync::Arc};

use anyhow::{Context as _, Result};
use monitor_common::limit::{Ban, BanKey, RateState};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    book::Book,
    prefix::{Kind, Prefix, Set},
};
use crate::kernel::{
    bits::Bits,
    load::Kernel,
    rates::Rates,
    table::{Cursor, Table},
};

/// Key of `BAN_NETS`, as the kernel's tries want it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NetKey {
    length: u32,
    addr: [u8; 16],
}

// SAFETY: the derives above prove that it has no padding and that every bit pattern is valid.
unsafe impl aya::Pod for NetKey {}

impl NetKey {
    fn of(prefix: &Prefix) -> Self {
        Self { length: u32::from(prefix.length()), addr: prefix.addr().bytes }
    }
}

/// `BANS`, `BAN_NETS`, and what makes them cheap to ask.
#[derive(Debug)]
pub struct Tables {
    bans: Table<BanKey, Ban>,
    nets: Table<NetKey, Ban>,
    bits: Bits,
    rates: Arc<Rates>,
}

/// The value of a ban by hand.
fn by_hand(until_ns: u64) -> Ban {
    Ban { until_ns, strikes: 0, flags: 0 }
}

impl Tables {
    /// Over the maps of a kernel object; `key` is that of the hash of sources.
    ///
    /// # Errors
    /// When one of them isn't as it should be.
    pub fn new(kernel: &mut Kernel, key: [u64; 2], rates: Arc<Rates>) -> Result<Self> {
        let tables = Self {
            bans: Table::new(kernel.lend("BANS")?)?,
            nets: Table::new(kernel.lend("BAN_NETS")?)?,
            bits: Bits::new(kernel.lend("BAN_BITS")?, key)?,
            rates,
        };
        tables.set_v4(None)?;
        Ok(tables)
    }

    /// Whom the packet program spares whatever the tables say.
    pub fn protected(&self) -> Set {
        let prefixes = self.rates.protected().into_iter();
        prefixes.map(|(addr, length)| Prefix::around(&addr, length as u8)).collect()
    }

    /// Enters single addresses and IPv6 networks of 64 bits; how many of them, in their order.
    pub fn add_hosts(&self, hosts: &[Prefix], until_ns: u64) -> (usize, Result<()>) {
        self.add_hosts_until(hosts.iter().map(|prefix| (*prefix, until_ns)))
    }

    /// The same, each with an end of its own.
    pub fn add_hosts_until(&self, hosts: impl Iterator<Item = (Prefix, u64)>) -> (usize, Result<()>) {
        let (mut keys, mut values, mut flags) = (Vec::new(), Vec::new(), 0);
        for (prefix, until_ns) in hosts {
            let Some(key) = prefix.key() else { continue };
            flags |= flag(prefix.kind());
            self.bits.mark(&key);
            keys.push(key);
            values.push(by_hand(until_ns));
        }
        if let Err(error) = self.rates.change_bans(|bans| bans | flags) {
            return (0, Err(error));
        }
        let (done, outcome) = self.bans.set_all(&keys, &values);
        (done, outcome.map_err(refusal))
    }

    /// Enters penalties.
    ///
    /// # Errors
    /// When the table is full.
    pub fn add_penalties(&self, keys: &[BanKey], values: &[Ban]) -> Result<()> {
        keys.iter().for_each(|key| self.bits.mark(key));
        self.bans.set_all(keys, values).1.map_err(refusal)
    }

    /// Takes out entries of `BANS`.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove(&self, keys: &[BanKey]) -> Result<()> {
        self.bans.remove_all(keys).context("can't take a ban out of the kernel's table")
    }

    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: &BanKey) -> Option<Ban> {
        self.bans.get(key)
    }

    /// Brings a network and those inside of it up to what `book` says of them. The table finds the longest prefix only, so
    /// each must bear the end of those around it.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn update_net(&self, book: &Book, net: Prefix) -> Result<()> {
        if book.get(&net).is_some() {
            self.rates.change_bans(|bans| bans | RateState::BANNED_NETS)?;
        } else if net == Prefix::V4 {
            self.set_v4(None)?;
        } else {
            self.nets.remove(&NetKey::of(&net)).context("can't take a network out of the kernel's table")?;
        }
        for inner in book.nets_in(net) {
            match book.net_until(&inner) {
                Some(until_ns) if inner == Prefix::V4 => self.set_v4(Some(until_ns))?,
                Some(until_ns) => {
                    self.nets.set(&NetKey::of(&inner), by_hand(until_ns)).map_err(refusal)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// All IPv4 addresses have an entry in any case: else a short IPv6 network would mean their mapped forms, too.
    fn set_v4(&self, until_ns: Option<u64>) -> Result<()> {
        self.nets.set(&NetKey::of(&Prefix::V4), by_hand(until_ns.unwrap_or(0))).map_err(refusal)
    }

    /// Has the packet program look for nothing that isn't there.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn settle_flags(&self, book: &Book) -> Result<()> {
        let flags = book.kinds().into_iter().fold(0, |flags, kind| flags | flag(kind));
        self.rates.change_bans(|_| flags)
    }

    /// Takes out the marks of bans that have gone.
    ///
    /// # Errors
    /// When the table can't be walked.
    pub fn forget_marks(&self) -> Result<()> {
        self.bits.forget(|mark| {
            self.bans.for_each(|key, _| mark(key)).context("can't walk over the table of bans")
        })
    }

    /// The next penalties of a walk, none at its end.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn next_penalties(&self, cursor: &mut Cursor) -> Result<Vec<(BanKey, Ban)>> {
        loop {
            let entries = self.bans.next(cursor).context("can't walk over the table of bans")?;
            if entries.is_empty() {
                return Ok(entries);
            }
            let penalties: Vec<_> = entries.into_iter().filter(|(key, _)| is_penalty(key)).collect();
            if !penalties.is_empty() {
                return Ok(penalties);
            }
        }
    }
}

/// Whether a rule made the entry.
fn is_penalty(key: &BanKey) -> bool {
    key.rule > BanKey::NET_64
}

const fn flag(kind: Kind) -> u32 {
    match kind {
        Kind::Host => RateState::BANNED_HOSTS,
        Kind::Net64 => RateState::BANNED_NET_64,
        Kind::Net => RateState::BANNED_NETS,
    }
}

fn refusal(error: io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::E2BIG | libc::ENOSPC) => anyhow::anyhow!(
            "the kernel's table of bans is full; `monitor ban list` shows what is in it, `monitor ban del` makes room"
        ),
        _ => anyhow::Error::new(error).context("the kernel takes no ban"),
    }
}
