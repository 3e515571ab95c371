//! The names of a policy, by the indices that the kernel programs know them by.

use std::sync::Arc;

use monitor_common::policy::{Mode, RuleKind, WorkloadSet};

use crate::config::Config;

/// Names of rules and workloads, in file order.
#[derive(Clone, Debug, Default)]
pub struct Names {
    rules: [Vec<(Arc<str>, Mode)>; RuleKind::ALL.len()],
    workloads: Vec<Arc<str>>,
}

impl Names {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let row = |name: &str, mode: crate::config::Mode| (Arc::from(name), Mode::from(mode));
        Self {
            rules: [
                config.execs.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config.databases.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config.rate_limits.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config.raw_sockets.iter().map(|rule| row(RuleKind::RawSockets.name(), rule.mode)).collect(),
            ],
            workloads: config.workloads.iter().map(|workload| Arc::from(&workload.name[..])).collect(),
        }
    }

    /// The rules of a kind, with the mode that the configuration gives them.
    #[must_use]
    pub fn rules(&self, kind: RuleKind) -> &[(Arc<str>, Mode)] {
        &self.rules[kind as usize]
    }

    /// The name of a rule.
    #[must_use]
    pub fn rule(&self, kind: RuleKind, index: u16) -> Option<&Arc<str>> {
        self.rules(kind).get(usize::from(index)).map(|(name, _)| name)
    }

    /// The workloads.
    #[must_use]
    pub fn workloads(&self) -> &[Arc<str>] {
        &self.workloads
    }

    /// The names of a set of workloads.
    pub fn of<'a>(&'a self, set: &'a WorkloadSet) -> impl Iterator<Item = &'a str> {
        let member = |index: usize| set.bits[index / 64] >> (index % 64) & 1 == 1;
        self.workloads.iter().enumerate().filter(move |(index, _)| member(*index)).map(|(_, name)| &**name)
    }
}
