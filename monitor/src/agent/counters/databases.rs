//! What is counted by database, direction and workload.
//!
//! The two tables have a slot for every combination, and nearly all stay at zero: 256 databases with 128 workloads have
//! 99,072 slots, and each takes a system call to read. So only those are read that may hold something.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use anyhow::Result;
use aya::maps::Map;
use monitor_common::{
    count::{DatabaseCount, Traffic, database_slot},
    limits,
    policy::{RuleKind, masks::Direction},
};

use super::{Counts, guard, held, modes_and_verdicts};
use crate::{
    metrics::snapshot::{Connections, DatabaseTraffic, Decisions, Lifetimes},
    policy::Names,
};

/// The two tables.
pub(super) struct Databases {
    counts: Counts<DatabaseCount>,
    traffic: Counts<Traffic>,
    /// How many workloads there are, those without a name included.
    workloads: usize,
}

/// One slot of both tables.
struct Slot<'a> {
    index: u32,
    database: &'a Arc<str>,
    direction: Direction,
    workload: Option<&'a Arc<str>>,
}

/// The slots that may hold something. `used` says which rules have decided on anything.
///
/// - Packets belong to no workload.
/// - A client was decided on, and that was counted by rule, before anything was counted for its workload.
/// - For a server something may be counted without a decision: it may be older than the policy. Databases that have
///   `servers` are few on a host.
/// - Connections that were found, rather than seen to open, are in `adopted`.
fn slots<'a>(
    names: &'a Names,
    workloads: usize,
    used: &HashSet<&'a str>,
    adopted: &BTreeMap<u32, u64>,
) -> impl Iterator<Item = Slot<'a>> {
    let rules = names.rules(RuleKind::Database).iter().enumerate();
    rules.flat_map(move |(rule, (database, _))| {
        let is_used = used.contains(&**database);
        names.directions(rule).iter().flat_map(move |direction| {
            (0..workloads).chain([limits::WORKLOADS]).filter_map(move |workload| {
                let direction = *direction;
                let index = database_slot(direction, rule as u16, workload as u32);
                let may = match direction {
                    Direction::Client => is_used || adopted.contains_key(&index),
                    Direction::Server => true,
                    Direction::Source => workload == limits::WORKLOADS,
                };
                let workload = names.workloads().get(workload);
                may.then_some(Slot { index, database, direction, workload })
            })
        })
    })
}

impl Databases {
    /// Takes over the maps.
    pub(super) fn new(mut map: impl FnMut(&str) -> Result<Map>, workloads: usize) -> Result<Self> {
        Ok(Self {
            counts: map("DATABASE_COUNTS")?.try_into()?,
            traffic: map("TRAFFIC")?.try_into()?,
            workloads,
        })
    }

    /// What isn't zero. `decisions` must have been read before.
    pub(super) fn read(
        &self,
        names: &Names,
        decisions: &[Decisions],
        held: &held::Counts,
    ) -> (Vec<Connections>, Vec<DatabaseTraffic>) {
        let of_databases = decisions.iter().filter(|decided| decided.rule_kind == RuleKind::Database);
        let used = of_databases.map(|decided| &*decided.rule).collect();
        let (adopted, gone) = (guard(&held.adopted).clone(), guard(&held.gone).clone());
        let (mut connections, mut traffic) = (Vec::new(), Vec::new());
        for slot in slots(names, self.workloads, &used, &adopted) {
            self.add_connections(&slot, &mut connections);
            if slot.direction != Direction::Source {
                let of = |counts: &BTreeMap<u32, u64>| counts.get(&slot.index).copied().unwrap_or(0);
                traffic.extend(self.traffic(&slot, of(&adopted), of(&gone)));
            }
        }
        (connections, traffic)
    }

    fn add_connections(&self, slot: &Slot, found: &mut Vec<Connections>) {
        let Ok(cpus) = self.counts.get(&slot.index, 0) else { return };
        for (mode, verdict) in modes_and_verdicts() {
            let column = mode as usize * 6 + usize::from(verdict);
            let count: u64 = cpus.iter().map(|cpu| cpu.connections[column]).sum();
            if count > 0 {
                found.push(Connections {
                    database: Arc::clone(slot.database),
                    direction: slot.direction,
                    workload: slot.workload.cloned(),
                    verdict,
                    mode,
                    count,
                });
            }
        }
    }

    fn traffic(&self, slot: &Slot, adopted: u64, gone: u64) -> Option<DatabaseTraffic> {
        let cpus = self.traffic.get(&slot.index, 0).ok()?;
        let mut sum = DatabaseTraffic {
            database: Arc::clone(slot.database),
            direction: slot.direction,
            workload: slot.workload.cloned(),
            opened: adopted,
            closed: gone,
            received: 0,
            sent: 0,
            lifetimes: Lifetimes::default(),
        };
        for cpu in cpus.iter() {
            sum.opened += cpu.opened;
            sum.closed += cpu.closed;
            sum.received += cpu.received;
            sum.sent += cpu.sent;
            sum.lifetimes.add(cpu.lifetime_ns as f64 / 1e9, &cpu.lifetimes);
        }
        (sum.opened > 0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let text = "
            [[workload]]
            name = \"api\"
            exe = [\"/usr/bin/api\"]
            [[exec]]
            name = \"web\"
            user = [\"www-data\"]
            deny = [\"@memfd\"]
            [[database]]
            name = \"clients\"
            ports = [1]
            clients = [\"api\"]
            [[database]]
            name = \"all\"
            ports = [2]
            clients = [\"api\"]
            servers = [\"api\"]
            sources = [\"10.0.0.0/8\"]
        ";
        let loaded = crate::config::Loaded::from_text(std::path::Path::new("test.toml"), text);
        Names::new(&loaded.config.unwrap())
    }

    /// Rule, direction, and workload with its name.
    fn read(used: &[&str], adopted: &[u32]) -> Vec<(String, Direction, u32, Option<String>)> {
        let names = names();
        let adopted = adopted.iter().map(|slot| (*slot, 1)).collect();
        let used = used.iter().copied().collect();
        let told = slots(&names, 2, &used, &adopted).map(|slot| {
            let workload = slot.index % (limits::WORKLOADS as u32 + 1);
            (slot.database.to_string(), slot.direction, workload, slot.workload.map(ToString::to_string))
        });
        told.collect()
    }

    #[test]
    fn only_slots_that_may_hold_something_are_read() {
        let other = limits::WORKLOADS as u32;
        let workloads = [(0, Some("api")), (1, None), (other, None)];
        let of = |rule: &str, direction, (workload, name): (u32, Option<&str>)| {
            (rule.to_owned(), direction, workload, name.map(str::to_owned))
        };
        let servers = workloads.map(|workload| of("all", Direction::Server, workload));
        let source = [of("all", Direction::Source, (other, None))];
        assert_eq!(read(&[], &[]), [&servers[..], &source].concat());
        let clients = workloads.map(|workload| of("clients", Direction::Client, workload));
        assert_eq!(read(&["clients"], &[]), [&clients[..], &servers[..], &source].concat());
        let slot = database_slot(Direction::Client, 1, 1);
        let adopted = of("all", Direction::Client, (1, None));
        assert_eq!(read(&[], &[slot]), [&[adopted][..], &servers[..], &source].concat());
    }
}
