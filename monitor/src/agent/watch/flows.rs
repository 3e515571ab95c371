//! Control groups that make more ordinary events than are told: says when that begins, when it ends, and how many it were.

use std::{
    collections::HashMap as Table,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use anyhow::Result;
use aya::maps::{HashMap, MapData};
use monitor_common::settings::Flow;

use crate::{agent::counters::KernelCounters, event::Text, host::cgroup::Groups, kernel::load::Kernel};

/// For how long a group must keep within its limit until that counts as over.
const CALM: Duration = Duration::from_secs(3);
/// Groups that are told of at one time. Of the others only the metrics tell.
const MOST: usize = 64;

/// The kernel's table, and what was told of it.
pub(super) struct Flows {
    table: HashMap<MapData, u64, Flow>,
    groups: Groups,
    /// How many events were suppressed so far, of all groups.
    total: Option<u64>,
    over: Over,
}

impl Flows {
    pub(super) fn new(kernel: &mut Kernel) -> Result<Self> {
        let (table, groups) = (kernel.take("FLOWS")?.try_into()?, Groups::open()?);
        Ok(Self { table, groups, total: None, over: Over::default() })
    }

    /// Looks who is over the limit. Costs a few counters as long as nobody is.
    pub(super) fn look(&mut self, counters: &KernelCounters) {
        let total = counters.throttled();
        let grew = self.total.is_some_and(|before| total > before);
        self.total = Some(total);
        if !grew && self.over.groups.is_empty() {
            return;
        }
        // A group that comes or goes meanwhile is seen by the next look.
        let rows = self.table.iter().flatten().filter(|(_, flow)| flow.suppressed > 0);
        let rows: Vec<_> = rows.map(|(id, flow)| (id, flow.suppressed)).collect();
        for change in self.over.note(&rows, Instant::now()) {
            self.tell(&change);
        }
        counters.gauges.cgroups_throttled.store(self.over.groups.len() as u64, Relaxed);
    }

    /// Tells of floods that go on, or have just been: nobody looks again.
    pub(super) fn end(&mut self, counters: &KernelCounters) {
        self.look(counters);
        for change in self.over.end() {
            self.tell(&change);
        }
    }

    fn tell(&self, change: &Change) {
        let name = |id: u64| {
            let path = self.groups.path_of(id);
            path.map_or_else(
                || format!("number {id}, which is gone"),
                |path| Text::new(path).quoted().to_string(),
            )
        };
        match change {
            Change::Began(id) => tracing::warn!(
                "control group {} makes more events than `[agent] events_per_cgroup` has told: the rest is counted only; \
                 findings are all told",
                name(*id)
            ),
            Change::Ended { id, suppressed, lasted } => tracing::warn!(
                suppressed,
                "control group {} keeps within `events_per_cgroup` again; in {} s {suppressed} events were not told",
                name(*id),
                lasted.as_secs()
            ),
        }
    }
}

/// Groups that are over the limit.
#[derive(Default)]
struct Over {
    groups: Table<u64, Flood>,
    /// By group, how many were suppressed when it was last seen to be within the limit.
    settled: Table<u64, u64>,
}

/// What one group makes.
struct Flood {
    since: Instant,
    /// When it was last seen to be over the limit.
    last: Instant,
    /// How many were suppressed before.
    before: u64,
    /// And by now.
    now: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Began(u64),
    Ended { id: u64, suppressed: u64, lasted: Duration },
}

impl Over {
    /// Ends all floods.
    fn end(&mut self) -> Vec<Change> {
        let ended = |(id, flood): (u64, Flood)| Change::Ended {
            id,
            suppressed: flood.now - flood.before,
            lasted: flood.last.duration_since(flood.since),
        };
        self.groups.drain().map(ended).collect()
    }

    /// Takes note of how many events of each group were suppressed so far.
    fn note(&mut self, rows: &[(u64, u64)], now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        // Of groups that the kernel's table has forgotten nothing is kept.
        self.settled.retain(|id, _| rows.iter().any(|(row, _)| row == id));
        for (id, suppressed) in rows {
            if let Some(flood) = self.groups.get_mut(id) {
                if *suppressed > flood.now {
                    flood.last = now;
                }
                flood.now = flood.now.max(*suppressed);
                continue;
            }
            let before = self.settled.get(id).copied().filter(|before| before <= suppressed).unwrap_or(0);
            if *suppressed > before && self.groups.len() < MOST {
                self.groups.insert(*id, Flood { since: now, last: now, before, now: *suppressed });
                changes.push(Change::Began(*id));
            }
        }
        let settled = &mut self.settled;
        self.groups.retain(|id, flood| {
            let goes_on = now.duration_since(flood.last) < CALM;
            if !goes_on {
                settled.insert(*id, flood.now);
                let lasted = flood.last.duration_since(flood.since);
                changes.push(Change::Ended { id: *id, suppressed: flood.now - flood.before, lasted });
            }
            goes_on
        });
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_when_it_begins_and_when_it_ends() {
        let mut over = Over::default();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        assert_eq!(over.note(&[(7, 10)], at(0)), [Change::Began(7)]);
        assert_eq!(over.note(&[(7, 30), (8, 1)], at(1)), [Change::Began(8)]);
        assert_eq!(over.note(&[(7, 30), (8, 1)], at(3)), []);
        let ended =
            |id, suppressed, seconds| Change::Ended { id, suppressed, lasted: Duration::from_secs(seconds) };
        let mut both = over.note(&[(7, 30), (8, 1)], at(4));
        both.sort_by_key(|change| matches!(change, Change::Ended { id: 8, .. }));
        assert_eq!(both, [ended(7, 30, 1), ended(8, 1, 0)]);
        // What was told counts no more.
        assert_eq!(over.note(&[(7, 30), (8, 1)], at(9)), []);
        assert_eq!(over.note(&[(7, 35)], at(10)), [Change::Began(7)]);
        assert_eq!(over.note(&[(7, 35)], at(13)), [ended(7, 5, 0)]);
        assert!(over.settled.len() == 1 && over.groups.is_empty());
        assert_eq!(over.note(&[(7, 36)], at(20)), [Change::Began(7)]);
        assert_eq!((over.end(), over.end()), (vec![ended(7, 1, 0)], vec![]));
    }

    #[test]
    fn no_more_than_the_limit_are_told_of() {
        let mut over = Over::default();
        let rows: Vec<(u64, u64)> = (0..3 * MOST as u64).map(|id| (id, 1)).collect();
        assert_eq!(over.note(&rows, Instant::now()).len(), MOST);
    }
}
