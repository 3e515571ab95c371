//! Bans: by hand, and the penalties that rules give.
//!
//! Bans by hand are kept here and written to the kernel's tables; penalties are made by the packet program and only live
//! there. Both are kept on the disk ([`store`]) by a thread that also takes out what has ended ([`upkeep`]).

pub mod book;
mod clock;
mod load;
pub mod prefix;
mod protected;
pub mod rules;
pub mod store;
mod tables;
pub mod upkeep;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use anyhow::Result;
use monitor_common::limit::BanKey;

use self::{
    book::{Book, Entry},
    clock::Now,
    prefix::{Kind, Prefix, Set},
    rules::PenaltyRule,
    store::Store,
    tables::Tables,
};
use crate::{
    kernel::{load::Kernel, rates::Rates, table::Cursor},
    metrics::Counters,
};

/// The most bytes of a reason.
pub const REASON_BYTES: usize = 256;

/// All bans of a running agent.
#[derive(Debug)]
pub struct Bans {
    tables: Tables,
    book: Mutex<Book>,
    rules: RwLock<Vec<PenaltyRule>>,
    store: Store,
    counters: Arc<Counters>,
    /// Changes of the book that aren't on the disk.
    unsaved: AtomicUsize,
    /// Entries taken out whose marks are still there.
    stale_marks: AtomicUsize,
    /// Whether another has taken over the table and the file.
    retired: AtomicBool,
}

/// The bans of the generation in force.
#[derive(Clone, Debug, Default)]
pub struct BansInForce(Arc<Mutex<Option<Arc<Bans>>>>);

impl BansInForce {
    /// Those; none while no packet is looked at.
    #[must_use]
    pub fn new(bans: Option<Arc<Bans>>) -> Self {
        Self(Arc::new(Mutex::new(bans)))
    }

    /// Those of the generation in force now.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Bans>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another generation is in force.
    pub fn set(&self, bans: Option<Arc<Bans>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bans;
    }
}

/// What became of bans that were to be added.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// New ones.
    pub added: usize,
    /// Those that were there, and have a new end and reason now.
    pub renewed: usize,
    /// Those that were not taken, and why.
    pub refused: Vec<(Prefix, String)>,
}

/// What was taken out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Bans by hand.
    pub bans: usize,
    /// Penalties.
    pub penalties: usize,
    /// Wider bans that still hold.
    pub covered_by: Vec<Prefix>,
}

/// One ban, as it is listed. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who.
    pub prefix: Prefix,
    /// The rule whose penalty it is; none by hand.
    pub rule: Option<Arc<str>>,
    /// Why, in somebody's words.
    pub reason: Arc<str>,
    /// Since when.
    pub since: Option<i64>,
    /// Until when; `None` for good.
    pub until: Option<i64>,
    /// How many penalties there were; 0 by hand.
    pub strikes: u32,
}

/// How far a listing has come.
#[derive(Debug, Default)]
pub struct Page {
    last: Option<Prefix>,
    hand_done: bool,
    penalties: Cursor,
}

impl Bans {
    /// Over the maps of a kernel object. Nothing is banned before [`load`](Self::load).
    ///
    /// # Errors
    /// When one of the maps isn't as it should be.
    pub fn new(
        kernel: &mut Kernel,
        source_key: [u64; 2],
        rates: Arc<Rates>,
        store: Store,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        Ok(Self {
            tables: Tables::new(kernel, source_key, rates)?,
            book: Mutex::new(Book::new()),
            rules: RwLock::default(),
            store,
            counters,
            unsaved: AtomicUsize::new(0),
            stale_marks: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
        })
    }

    /// Another has taken over the table and the file: writes nothing any more.
    pub fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// The other has gone: goes on from what it wrote down.
    pub fn take_up(&self) {
        *self.book() = Book::new();
        self.load(true);
        self.retired.store(false, Relaxed);
    }

    /// Tells which rules give penalties from now on.
    pub fn set_rules(&self, rules: Vec<PenaltyRule>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Bans by hand, for a number of seconds or for good.
    ///
    /// # Errors
    /// When the kernel's table takes no more; those before stay banned.
    pub fn add(&self, prefixes: &[Prefix], seconds: Option<u64>, reason: &str, force: bool) -> Result<Added> {
        let now = Now::read();
        let until_ns = now.after(seconds);
        let mut done = Added::default();
        let mut hosts = Vec::new();
        let protected: Set = self.tables.protected();
        let mut book = self.book();
        let entry = Entry { until_ns, since: now.seconds(), reason: book.reason(reason) };
        for prefix in prefixes {
            if let Some(why) = protected::refusal(prefix, &protected, force) {
                done.refused.push((*prefix, why));
            } else if !book.has_room(prefix) {
                let why = format!("there are {} bans by hand already, and there is no room for more", {
                    let (hosts, nets) = book.counts();
                    if prefix.kind() == Kind::Net { nets } else { hosts }
                });
                done.refused.push((*prefix, why));
            } else if prefix.kind() == Kind::Net {
                self.add_net(&mut book, *prefix, entry.clone(), &mut done)?;
            } else {
                hosts.push(*prefix);
            }
        }
        let (taken, outcome) = self.tables.add_hosts(&hosts, until_ns);
        for prefix in hosts.iter().take(taken) {
            match book.insert(*prefix, entry.clone()) {
                None => done.added += 1,
                Some(_) => done.renewed += 1,
            }
        }
        self.unsaved.fetch_add(taken, Relaxed);
        outcome.map(|()| done)
    }

    fn add_net(&self, book: &mut Book, net: Prefix, entry: Entry, done: &mut Added) -> Result<()> {
        let before = book.insert(net, entry);
        match self.tables.update_net(book, net) {
            Ok(()) if before.is_none() => done.added += 1,
            Ok(()) => done.renewed += 1,
            Err(error) => {
                match before {
                    Some(before) => drop(book.insert(net, before)),
                    None => drop(book.remove(&net)),
                }
                return Err(error);
            }
        }
        self.unsaved.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Takes out a ban by hand, and the penalties that the address or network serves.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove(&self, prefix: &Prefix) -> Result<Deleted> {
        let mut book = self.book();
        let bans = self.take_out(&mut book, &[*prefix])?;
        let rules = self.rules();
        let keys = rules.iter().filter_map(|rule| rule.key(prefix));
        let keys: Vec<BanKey> = keys.filter(|key| self.tables.get(key).is_some()).collect();
        self.remove_penalties(&keys)?;
        Ok(Deleted { bans, penalties: keys.len(), covered_by: book.covering(prefix) })
    }

    /// Takes out the penalties of a rule; `None` if no rule of this name gives any.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_rule(&self, name: &str) -> Result<Option<Deleted>> {
        let Some(id) = self.rules().iter().find(|rule| &*rule.name == name).map(|rule| rule.id) else {
            return Ok(None);
        };
        let penalties = self.remove_where(|key| key.rule == id)?;
        Ok(Some(Deleted { penalties, ..Deleted::default() }))
    }

    /// Takes out everything.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_all(&self) -> Result<Deleted> {
        let mut book = self.book();
        let all: Vec<Prefix> = book.iter().map(|(prefix, _)| *prefix).collect();
        let bans = self.take_out(&mut book, &all)?;
        drop(book);
        let penalties = self.remove_where(|_| true)?;
        Ok(Deleted { bans, penalties, covered_by: Vec::new() })
    }

    fn remove_where(&self, which: impl Fn(&BanKey) -> bool) -> Result<usize> {
        let (mut cursor, mut keys) = (Cursor::default(), Vec::new());
        loop {
            let penalties = self.tables.next_penalties(&mut cursor)?;
            if penalties.is_empty() {
                break;
            }
            keys.extend(penalties.iter().map(|(key, _)| *key).filter(|key| which(key)));
        }
        self.remove_penalties(&keys)?;
        Ok(keys.len())
    }

    fn remove_penalties(&self, keys: &[BanKey]) -> Result<()> {
        self.stale_marks.fetch_add(keys.len(), Relaxed);
        self.tables.remove(keys)
    }

    /// Takes bans by hand out of the book and the kernel; how many there were.
    fn take_out(&self, book: &mut Book, prefixes: &[Prefix]) -> Result<usize> {
        let (mut keys, mut count) = (Vec::new(), 0);
        for prefix in prefixes {
            if book.get(prefix).is_none() {
                continue;
            }
            count += 1;
            match prefix.key() {
                Some(key) => keys.push((key, *prefix)),
                None => {
                    let entry = book.remove(prefix);
                    if let Err(error) = self.tables.update_net(book, *prefix) {
                        entry.into_iter().for_each(|entry| drop(book.insert(*prefix, entry)));
                        return Err(error);
                    }
                }
            }
        }
        let (keys, hosts): (Vec<BanKey>, Vec<Prefix>) = keys.into_iter().unzip();
        self.tables.remove(&keys)?;
        hosts.iter().for_each(|prefix| drop(book.remove(prefix)));
        self.stale_marks.fetch_add(keys.len(), Relaxed);
        self.unsaved.fetch_add(count, Relaxed);
        if count > 0 {
            self.tables.settle_flags(book)?;
        }
        Ok(count)
    }

    /// The next of a listing, none at its end: bans by hand in order, then penalties that are being served.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn next(&self, page: &mut Page) -> Result<Vec<Listed>> {
        const COUNT: usize = 2048;
        let now = Now::read();
        if !page.hand_done {
            let bans = self.book().after(page.last.as_ref(), COUNT);
            if let Some((last, _)) = bans.last() {
                page.last = Some(*last);
                return Ok(bans.into_iter().map(|(prefix, entry)| by_hand(&now, prefix, entry)).collect());
            }
            page.hand_done = true;
        }
        let rules = self.rules();
        loop {
            let penalties = self.tables.next_penalties(&mut page.penalties)?;
            if penalties.is_empty() {
                return Ok(Vec::new());
            }
            let served = penalties.iter().filter(|(_, ban)| ban.until_ns > now.monotonic_ns);
            let listed = served.filter_map(|(key, ban)| {
                let rule = rules.iter().find(|rule| rule.id == key.rule)?;
                Some(Listed {
                    prefix: rule.source(&key.addr),
                    rule: Some(Arc::clone(&rule.name)),
                    reason: "".into(),
                    since: now.wall(rule.since_ns(ban)),
                    until: now.wall(ban.until_ns),
                    strikes: ban.strikes,
                })
            });
            let listed: Vec<Listed> = listed.collect();
            if !listed.is_empty() {
                return Ok(listed);
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> Vec<PenaltyRule> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn by_hand(now: &Now, prefix: Prefix, entry: Entry) -> Listed {
    let until = now.wall(entry.until_ns);
    Listed { prefix, rule: None, reason: entry.reason, since: Some(entry.since), until, strikes: 0 }
}
