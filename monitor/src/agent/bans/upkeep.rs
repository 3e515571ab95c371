//! Takes out what has ended, keeps the rest on the disk, and counts it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use monitor_common::limit::BanKey;

use super::{Bans, clock::Now, rules::PenaltyRule, store::Saved};
use crate::{
    kernel::table::Cursor,
    metrics::{BanFailure, BanKind, Penalties},
};

/// How often is looked for what is to be done.
const EVERY: Duration = Duration::from_millis(250);
/// How often penalties are read, which the packet program makes: a killed agent forgets those since.
const PENALTIES_EVERY: Duration = Duration::from_secs(5);
/// Reading all penalties, or writing the file, takes at most this part of the time.
const SHARE: u32 = 25;
/// So many marks without an entry cost enough to be taken out: every 64th bit.
const STALE_MARKS: usize = 1 << 18;

/// When something that takes long is due again.
#[derive(Debug)]
struct Pace {
    least: Duration,
    due: Instant,
}

impl Pace {
    fn new(least: Duration) -> Self {
        Self { least, due: Instant::now() }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    fn begun(&mut self, begun: Instant) {
        self.due = Instant::now() + self.least.max(begun.elapsed() * SHARE);
    }
}

/// What the thread remembers.
#[derive(Debug)]
struct Upkeep {
    penalties: Pace,
    file: Pace,
    /// Hash over all penalties as they are in the file.
    saved: u64,
    /// The same as they were last seen.
    seen: u64,
}

impl Bans {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn keep_up(self: &Arc<Self>, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        let bans = Arc::clone(self);
        let builder = std::thread::Builder::new().name("bans".to_owned());
        builder.spawn(move || bans.run(&stop)).context("can't start the thread for bans")
    }

    fn run(&self, stop: &AtomicBool) {
        let mut upkeep =
            Upkeep { penalties: Pace::new(PENALTIES_EVERY), file: Pace::new(EVERY), saved: 0, seen: 0 };
        while !stop.load(Relaxed) {
            if let Err(error) = self.look(&mut upkeep) {
                tracing::warn!("bans: {error:#}");
            }
            std::thread::park_timeout(EVERY);
        }
        upkeep.penalties.due = Instant::now();
        upkeep.file.due = Instant::now();
        if let Err(error) = self.look(&mut upkeep) {
            tracing::warn!("bans: {error:#}");
        }
    }

    /// Writes bans and penalties to the disk now.
    ///
    /// # Errors
    /// When they can't be read or written.
    pub fn save_now(&self) -> Result<()> {
        self.unsaved.store(0, Relaxed);
        self.save(&Now::read())
    }

    fn look(&self, upkeep: &mut Upkeep) -> Result<()> {
        if self.retired.load(Relaxed) {
            return Ok(());
        }
        let now = Now::read();
        let mut book = self.book();
        let ended = book.ended(now.monotonic_ns);
        self.take_out(&mut book, &ended)?;
        let (hosts, nets) = book.counts();
        drop(book);
        self.counters.bans.set(BanKind::Host, hosts as u64);
        self.counters.bans.set(BanKind::Net, nets as u64);
        if upkeep.penalties.is_due() {
            let begun = Instant::now();
            upkeep.seen = self.penalties(&now)?;
            upkeep.penalties.begun(begun);
        }
        if self.stale_marks.load(Relaxed) >= STALE_MARKS {
            self.stale_marks.store(0, Relaxed);
            self.tables.forget_marks()?;
        }
        let changed = self.unsaved.load(Relaxed) > 0 || upkeep.seen != upkeep.saved;
        if changed && upkeep.file.is_due() {
            let begun = Instant::now();
            let unsaved = self.unsaved.swap(0, Relaxed);
            let outcome = self.save(&now);
            if outcome.is_ok() {
                upkeep.saved = upkeep.seen;
            } else {
                self.unsaved.fetch_add(unsaved, Relaxed);
                self.counters.bans.failed(BanFailure::Write);
                // Somebody has to do something about it first; once a minute is enough to say so.
                upkeep.file.due = Instant::now() + Duration::from_secs(60);
                return outcome;
            }
            upkeep.file.begun(begun);
        }
        Ok(())
    }

    /// Counts the penalties, and takes out those that are over and needn't be remembered. A hash over what is left.
    fn penalties(&self, now: &Now) -> Result<u64> {
        let rules = self.rules();
        let mut counts: HashMap<u64, (u64, u64)> = HashMap::new();
        let (mut cursor, mut hash, mut remembered) = (Cursor::default(), 0_u64, 0);
        loop {
            let penalties = self.tables.next_penalties(&mut cursor)?;
            if penalties.is_empty() {
                break;
            }
            let mut over = Vec::new();
            for (key, ban) in &penalties {
                let rule = rules.iter().find(|rule| rule.id == key.rule);
                let until_ns = rule.map_or(ban.until_ns, |rule| rule.remembered_until_ns(ban));
                if until_ns <= now.monotonic_ns {
                    over.push(*key);
                    continue;
                }
                if ban.until_ns > now.monotonic_ns {
                    let (active, repeated) = counts.entry(key.rule).or_default();
                    *active += 1;
                    *repeated += u64::from(ban.strikes > 1);
                }
                remembered += 1;
                let mut one = DefaultHasher::new();
                (key, ban.until_ns, ban.strikes).hash(&mut one);
                // In whatever order they come.
                hash = hash.wrapping_add(one.finish());
            }
            self.remove_over(&over, &rules, now)?;
        }
        let named = rules.iter().map(|rule| {
            let (active, repeated) = counts.get(&rule.id).copied().unwrap_or_default();
            Penalties { rule: Arc::clone(&rule.name), active, repeated }
        });
        self.counters.bans.set_penalties(named.collect());
        self.counters.bans.set_remembered(remembered);
        Ok(hash)
    }

    /// Takes out penalties that were over a moment ago, unless there is a new one since.
    fn remove_over(&self, keys: &[BanKey], rules: &[PenaltyRule], now: &Now) -> Result<()> {
        let over = |key: &BanKey| {
            let rule = rules.iter().find(|rule| rule.id == key.rule);
            self.tables.get(key).is_some_and(|ban| {
                rule.map_or(ban.until_ns, |rule| rule.remembered_until_ns(&ban)) <= now.monotonic_ns
            })
        };
        let keys: Vec<BanKey> = keys.iter().copied().filter(over).collect();
        self.remove_penalties(&keys)
    }

    /// Writes everything to the disk.
    fn save(&self, now: &Now) -> Result<()> {
        const PAGE: usize = 4096;
        self.store.write(|writer| {
            let mut last = None;
            loop {
                // Not all at once: whoever adds bans doesn't wait for the disk.
                let bans = self.book().after(last.as_ref(), PAGE);
                let Some((end, _)) = bans.last() else { break };
                last = Some(*end);
                for (prefix, entry) in bans {
                    writer.add(&Saved::of_entry(now, prefix, entry))?;
                }
            }
            let (rules, mut cursor) = (self.rules(), Cursor::default());
            loop {
                let penalties = self.tables.next_penalties(&mut cursor)?;
                if penalties.is_empty() {
                    return Ok(());
                }
                let kept = penalties.iter().filter_map(|(key, ban)| Saved::of_penalty(now, &rules, key, ban));
                kept.into_iter().try_for_each(|ban| writer.add(&ban))?;
            }
        })
    }
}
