//! Bans of earlier runs.

use std::time::Instant;

use monitor_common::limit::{Ban, BanKey};

use super::{
    Bans,
    book::Entry,
    clock::Now,
    prefix::{Kind, Prefix},
    rules::PenaltyRule,
    store::Saved,
};
use crate::metrics::BanFailure;

/// How many of each there were.
#[derive(Debug, Default)]
struct Read {
    bans: usize,
    penalties: usize,
    /// Ended, or of rules that there are no more.
    over: usize,
}

impl Bans {
    /// Enters the bans and penalties of earlier runs. Whatever is wrong with them is told and counted, and no reason not to
    /// start. `inherited` is whether the kernel has kept them itself: then it knows better what penalties there are.
    pub fn load(&self, inherited: bool) {
        let begun = Instant::now();
        let mut saved = self.store.read().unwrap_or_else(|error| {
            self.counters.bans.failed(BanFailure::Read);
            match self.store.set_aside() {
                Ok(aside) => {
                    tracing::error!("{error:#}; it is at {} now, and nobody is banned", aside.display());
                }
                Err(aside) => tracing::error!("{error:#}; {aside:#}; nobody is banned"),
            }
            Vec::new()
        });
        if inherited {
            saved.retain(|saved| matches!(saved, Saved::Hand { .. }));
        }
        if saved.is_empty() {
            return;
        }
        match self.enter(saved) {
            Ok(Read { bans, penalties, over }) => tracing::info!(
                "{bans} bans and {penalties} penalties of earlier runs hold again, {over} were over; took {} ms",
                begun.elapsed().as_millis()
            ),
            Err(error) => {
                self.counters.bans.failed(BanFailure::Read);
                tracing::error!("not all bans of earlier runs hold again: {error:#}");
            }
        }
    }

    fn enter(&self, saved: Vec<Saved>) -> anyhow::Result<Read> {
        let now = Now::read();
        let rules = self.rules();
        let mut read = Read::default();
        let (mut hosts, mut nets) = (Vec::new(), Vec::new());
        let (mut keys, mut values): (Vec<BanKey>, Vec<Ban>) = (Vec::new(), Vec::new());
        let mut book = self.book();
        for saved in saved {
            match saved {
                Saved::Hand { prefix, since, until, reason } => {
                    let until_ns = now.monotonic(until);
                    if until_ns <= now.monotonic_ns || !book.has_room(&prefix) {
                        read.over += 1;
                        continue;
                    }
                    let reason = book.reason(&reason);
                    drop(book.insert(prefix, Entry { until_ns, since, reason }));
                    match prefix.kind() {
                        Kind::Net => nets.push(prefix),
                        _ => hosts.push((prefix, until_ns)),
                    }
                }
                Saved::Penalty { addr, strikes, flags, until, rule } => {
                    let ban = Ban { until_ns: now.monotonic(until), strikes, flags };
                    let rule = rules.iter().find(|known| known.name == rule);
                    match rule.filter(|rule| rule.remembered_until_ns(&ban) > now.monotonic_ns) {
                        Some(rule) => {
                            keys.push(BanKey { addr, rule: rule.id });
                            values.push(ban);
                        }
                        None => read.over += 1,
                    }
                }
            }
        }
        (read.bans, read.penalties) = (hosts.len() + nets.len(), keys.len());
        self.tables.add_hosts_until(hosts.into_iter()).1?;
        nets.into_iter().try_for_each(|net| self.tables.update_net(&book, net))?;
        self.tables.add_penalties(&keys, &values)?;
        Ok(read)
    }
}

impl Saved {
    /// A ban by hand, to be kept.
    pub(super) fn of_entry(now: &Now, prefix: Prefix, entry: Entry) -> Self {
        Self::Hand { prefix, since: entry.since, until: now.wall(entry.until_ns), reason: entry.reason }
    }

    /// A penalty, to be kept, if its rule is known and it has to be remembered.
    pub(super) fn of_penalty(now: &Now, rules: &[PenaltyRule], key: &BanKey, ban: &Ban) -> Option<Self> {
        let rule = rules.iter().find(|rule| rule.id == key.rule)?;
        (rule.remembered_until_ns(ban) > now.monotonic_ns).then(|| Self::Penalty {
            addr: key.addr,
            strikes: ban.strikes,
            flags: ban.flags,
            until: now.wall(ban.until_ns),
            rule: rule.name.clone(),
        })
    }
}
