//! What is counted by the rules of one generation, and what those before had counted.
//!
//! Rules are known to the kernel programs by their indices, which the next policy gives to others. So what a generation
//! counted goes on by name.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use anyhow::Result;
use aya::maps::{Map, MapData};
use monitor_common::{
    count::{LIFETIMES, decision_slot},
    policy::{Mode, RuleKind, masks::Direction},
};
use serde::{Deserialize, Serialize};

use super::{Counts, databases::Databases, guard, held, modes_and_verdicts, sum};
use crate::{
    metrics::snapshot::{Connections, DatabaseTraffic, Decisions, Lifetimes},
    policy::Names,
};

/// The tables that are counted in by the index of a rule.
pub(super) struct Booked {
    decisions: Counts<u64>,
    databases: Databases,
}

impl Booked {
    /// Over the maps `DECISIONS`, `DATABASE_COUNTS` and `TRAFFIC`, as `map` hands them out. `workloads` is how many there are,
    /// those without a name included.
    pub(super) fn new(mut map: impl FnMut(&str) -> Result<Map>, workloads: usize) -> Result<Self> {
        Ok(Self { decisions: map("DECISIONS")?.try_into()?, databases: Databases::new(&mut map, workloads)? })
    }

    /// What isn't zero.
    pub(super) fn read(&self, names: &Names, held: &held::Counts) -> Sums {
        let decisions = self.decisions(names, held);
        let (databases, traffic) = self.databases.read(names, &decisions, held);
        Sums { decisions, databases, traffic }
    }

    fn decisions(&self, names: &Names, held: &held::Counts) -> Vec<Decisions> {
        let mut found = Vec::new();
        for counted_as in [RuleKind::Exec, RuleKind::Database, RuleKind::RawSockets, RuleKind::ProcessMemory]
        {
            for index in 0..names.counted_as(counted_as) {
                let (rule_kind, rule) = names.meant(counted_as, index);
                let Some(name) = names.rule(rule_kind, rule) else { continue };
                for (mode, verdict) in modes_and_verdicts() {
                    let index = decision_slot(counted_as as u8, index, verdict, mode as u8);
                    let count = sum(&self.decisions, index);
                    if count > 0 {
                        found.push(Decisions { rule_kind, rule: Arc::clone(name), verdict, mode, count });
                    }
                }
            }
        }
        for ((rule, verdict, mode), count) in &*guard(&held.decisions) {
            let rule_kind = RuleKind::Database;
            let (verdict, mode) = (*verdict, Mode::from_code(*mode));
            if let Some(name) = names.rule(rule_kind, *rule) {
                found.push(Decisions { rule_kind, rule: Arc::clone(name), verdict, mode, count: *count });
            }
        }
        found
    }
}

/// What was counted, by name.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Decisions of exec and database rules.
    pub decisions: Vec<Decisions>,
    /// Decisions of database rules by workload.
    pub databases: Vec<Connections>,
    /// Traffic of databases by workload.
    pub traffic: Vec<DatabaseTraffic>,
}

impl Sums {
    /// Of a generation whose agent has gone: from its maps, as `map` hands them out.
    ///
    /// # Errors
    /// When a map isn't there, or isn't as it should be.
    pub fn left(map: impl Fn(&str) -> Result<MapData>, names: &Names, workloads: usize) -> Result<Self> {
        let per_cpu = |name: &str| Ok(Map::PerCpuArray(map(name)?));
        Ok(Booked::new(per_cpu, workloads)?.read(names, &held::Counts::default()))
    }

    /// Adds others; what has the same name is added up when it is shown.
    pub fn add(&mut self, others: Self) {
        self.decisions.extend(others.decisions);
        self.databases.extend(others.databases);
        self.traffic.extend(others.traffic);
    }

    /// Adds those of a generation that has ended. Connections that were open then are found by looking by the next, and
    /// counted as opened once more: so they count here only if they ended.
    pub fn add_ended(&mut self, mut ended: Self) {
        ended.traffic.iter_mut().for_each(|row| row.opened = row.closed);
        self.add(ended);
    }

    /// With one row for what has the same name.
    #[must_use]
    pub fn folded(&self) -> Self {
        let decisions = folded(
            &self.decisions,
            |row| (row.rule_kind as u8, Arc::clone(&row.rule), row.verdict, row.mode as u8),
            |sum, row| sum.count += row.count,
        );
        let databases = folded(
            &self.databases,
            |row| {
                let of = (Arc::clone(&row.database), row.direction as u8, row.workload.clone());
                (of, row.verdict, row.mode as u8)
            },
            |sum, row| sum.count += row.count,
        );
        let traffic = folded(
            &self.traffic,
            |row| (Arc::clone(&row.database), row.direction as u8, row.workload.clone()),
            |sum, row| {
                sum.opened += row.opened;
                sum.closed += row.closed;
                sum.received += row.received;
                sum.sent += row.sent;
                sum.lifetimes.add(row.lifetimes.sum, &row.lifetimes.counts);
            },
        );
        Self { decisions, databases, traffic }
    }
}

/// One row for each key.
fn folded<T: Clone, K: Ord>(rows: &[T], key: impl Fn(&T) -> K, add: impl Fn(&mut T, &T)) -> Vec<T> {
    let mut sums: BTreeMap<K, T> = BTreeMap::new();
    for row in rows {
        match sums.entry(key(row)) {
            Entry::Occupied(sum) => add(sum.into_mut(), row),
            Entry::Vacant(place) => drop(place.insert(row.clone())),
        }
    }
    sums.into_values().collect()
}

/// The same as it is kept on the disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    decisions: Vec<(usize, String, u8, u8, u64)>,
    databases: Vec<(String, usize, Option<String>, u8, u8, u64)>,
    traffic: Vec<KeptTraffic>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptTraffic {
    database: String,
    direction: usize,
    workload: Option<String>,
    opened: u64,
    closed: u64,
    received: u64,
    sent: u64,
    seconds: f64,
    lifetimes: Vec<u64>,
}

impl From<&Sums> for Kept {
    fn from(sums: &Sums) -> Self {
        let workload = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        Self {
            decisions: sums
                .decisions
                .iter()
                .map(|row| {
                    (row.rule_kind as usize, row.rule.to_string(), row.verdict, row.mode as u8, row.count)
                })
                .collect(),
            databases: sums
                .databases
                .iter()
                .map(|row| {
                    let direction = row.direction as usize;
                    let workload = workload(&row.workload);
                    (row.database.to_string(), direction, workload, row.verdict, row.mode as u8, row.count)
                })
                .collect(),
            traffic: sums
                .traffic
                .iter()
                .map(|row| KeptTraffic {
                    database: row.database.to_string(),
                    direction: row.direction as usize,
                    workload: workload(&row.workload),
                    opened: row.opened,
                    closed: row.closed,
                    received: row.received,
                    sent: row.sent,
                    seconds: row.lifetimes.sum,
                    lifetimes: row.lifetimes.counts.to_vec(),
                })
                .collect(),
        }
    }
}

impl From<Kept> for Sums {
    /// What a later version wrote and we don't know is left out.
    fn from(kept: Kept) -> Self {
        let decisions = kept.decisions.into_iter().filter_map(|(kind, rule, verdict, mode, count)| {
            let rule_kind = *RuleKind::ALL.get(kind)?;
            Some(Decisions { rule_kind, rule: rule.into(), verdict, mode: Mode::from_code(mode), count })
        });
        let databases =
            kept.databases.into_iter().filter_map(|(database, direction, workload, verdict, mode, count)| {
                Some(Connections {
                    database: database.into(),
                    direction: *Direction::ALL.get(direction)?,
                    workload: workload.map(Into::into),
                    verdict,
                    mode: Mode::from_code(mode),
                    count,
                })
            });
        let traffic = kept.traffic.into_iter().filter_map(|row| {
            let counts: [u64; LIFETIMES] = row.lifetimes.try_into().ok()?;
            Some(DatabaseTraffic {
                database: row.database.into(),
                direction: *Direction::ALL.get(row.direction)?,
                workload: row.workload.map(Into::into),
                opened: row.opened,
                closed: row.closed,
                received: row.received,
                sent: row.sent,
                lifetimes: Lifetimes { sum: row.seconds, counts },
            })
        });
        Self { decisions: decisions.collect(), databases: databases.collect(), traffic: traffic.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(opened: u64, closed: u64) -> Sums {
        Sums {
            decisions: vec![Decisions {
                rule_kind: RuleKind::Exec,
                rule: "shells".into(),
                verdict: 2,
                mode: Mode::Enforce,
                count: 3,
            }],
            databases: vec![Connections {
                database: "orders".into(),
                direction: Direction::Client,
                workload: Some("api".into()),
                verdict: 1,
                mode: Mode::Observe,
                count: 5,
            }],
            traffic: vec![DatabaseTraffic {
                database: "orders".into(),
                direction: Direction::Client,
                workload: None,
                opened,
                closed,
                received: 10,
                sent: 20,
                lifetimes: Lifetimes { sum: 1.5, counts: [1; LIFETIMES] },
            }],
        }
    }

    #[test]
    fn what_was_counted_goes_on_by_name_and_through_the_disk() {
        let text = serde_json::to_string(&Kept::from(&sums(9, 4))).unwrap();
        let before: Sums = serde_json::from_str::<Kept>(&text).unwrap().into();
        let mut all = sums(2, 1);
        all.add_ended(before);
        let all = all.folded();
        assert_eq!(all.decisions.len(), 1);
        assert_eq!(all.decisions[0].count, 6);
        assert_eq!(all.databases[0].count, 10);
        let traffic = &all.traffic[0];
        assert_eq!((traffic.opened, traffic.closed, traffic.sent), (2 + 4, 5, 40));
        assert_eq!(traffic.lifetimes, Lifetimes { sum: 3.0, counts: [2; LIFETIMES] });
    }
}
