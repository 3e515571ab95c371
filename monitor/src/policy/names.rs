//! The names of a policy, by the indices that the kernel programs know them by.

use std::sync::Arc;

use monitor_common::{
    count::{BAN_COUNTER, UNPARSED_RULE},
    policy::{Mode, RuleKind, WorkloadSet, masks::Direction},
};

use super::rate_counters::RateCounters;
use crate::{
    config::{About, BANNED, Config, UNPARSED},
    event::Tags,
};

/// Names of rules and workloads, in file order; those of rate limits by their counters ([`RateCounters`]).
#[derive(Clone, Debug, Default)]
pub struct Names {
    rules: [Vec<(Arc<str>, Mode)>; RuleKind::ALL.len()],
    /// Of the rules, by kind.
    tags: [Vec<Arc<Tags>>; RuleKind::ALL.len()],
    workloads: Vec<Arc<str>>,
    /// By database rule, the directions that it speaks of.
    directions: Vec<Vec<Direction>>,
    /// What packets are counted by beside rate limits, each with the index of its counters.
    own: Vec<(u32, (Arc<str>, Mode))>,
    /// The number of this policy since the agent began.
    pub generation: u64,
}

impl Names {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            rules: [
                config.execs.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config.databases.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config.rate_limits.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config.raw_sockets.iter().map(|rule| row(RuleKind::RawSockets.name(), rule.mode)).collect(),
                config.listens.iter().map(|rule| row(&rule.name, rule.mode)).collect(),
                config
                    .process_memory
                    .iter()
                    .map(|rule| row(RuleKind::ProcessMemory.name(), rule.mode))
                    .collect(),
            ],
            tags: [
                config.execs.iter().map(|rule| tags(&rule.about)).collect(),
                config.databases.iter().map(|rule| tags(&rule.about)).collect(),
                config.rate_limits.iter().map(|rule| tags(&rule.about)).collect(),
                config.raw_sockets.iter().map(|rule| tags(&rule.about)).collect(),
                config.listens.iter().map(|rule| tags(&rule.about)).collect(),
                config.process_memory.iter().map(|rule| tags(&rule.about)).collect(),
            ],
            workloads: config.workloads.iter().map(|workload| Arc::from(&workload.name[..])).collect(),
            directions: config.databases.iter().map(directions).collect(),
            own: vec![
                (UNPARSED_RULE, row(UNPARSED, config.mode)),
                // Nobody bans to see what would happen.
                (BAN_COUNTER, row(BANNED, crate::config::Mode::Enforce)),
            ],
            generation: 1,
        }
    }

    /// Those of a configuration that follows on others, with the counters that its rate limits have.
    #[must_use]
    pub fn counted(config: &Config, counters: &RateCounters) -> Self {
        let mut names = Self::new(config);
        let mode =
            |name: &str| config.rate_limits.iter().find(|rule| rule.name == name).map(|rule| rule.mode);
        // What was counted under a rule that has gone stays where it was counted.
        let gone = crate::config::Mode::Observe;
        names.rules[RuleKind::RateLimit as usize] =
            counters.names().iter().map(|name| row(name, mode(name).unwrap_or(gone))).collect();
        let about = |name: &Arc<str>| {
            let rule = config.rate_limits.iter().find(|rule| *rule.name == **name);
            rule.map(|rule| tags(&rule.about)).unwrap_or_default()
        };
        names.tags[RuleKind::RateLimit as usize] = counters.names().iter().map(about).collect();
        names
    }

    /// Which rule is meant by the kind and the index that the kernel programs know it by: those about who may listen are
    /// numbered after those about databases.
    #[must_use]
    pub fn meant(&self, kind: RuleKind, index: u16) -> (RuleKind, u16) {
        let databases = self.rules(RuleKind::Database).len() as u16;
        match index.checked_sub(databases) {
            Some(index) if kind == RuleKind::Database => (RuleKind::Listen, index),
            _ => (kind, index),
        }
    }

    /// How many rules the kernel programs count as of a kind.
    #[must_use]
    pub fn counted_as(&self, kind: RuleKind) -> u16 {
        let listens = if kind == RuleKind::Database { self.rules(RuleKind::Listen).len() } else { 0 };
        (self.rules(kind).len() + listens) as u16
    }

    /// The rules of a kind, with the mode that the configuration gives them.
    #[must_use]
    pub fn rules(&self, kind: RuleKind) -> &[(Arc<str>, Mode)] {
        &self.rules[kind as usize]
    }

    /// The name of a rule; of rate limits, that of any of its [`Self::packet_counters`].
    #[must_use]
    pub fn rule(&self, kind: RuleKind, index: u16) -> Option<&Arc<str>> {
        let own = || self.own.iter().find(|(counter, _)| *counter == u32::from(index)).map(|(_, row)| row);
        let rule = self.rules(kind).get(usize::from(index));
        rule.or_else(|| own().filter(|_| kind == RuleKind::RateLimit)).map(|(name, _)| name)
    }

    /// What the policy says of a rule to those who read its findings.
    #[must_use]
    pub fn tags(&self, kind: RuleKind, index: u16) -> Arc<Tags> {
        self.tags[kind as usize].get(usize::from(index)).cloned().unwrap_or_default()
    }

    /// What packets are counted by: rate limits, packets that can't be read and bans by hand, each with the index of
    /// its counters.
    pub fn packet_counters(&self) -> impl Iterator<Item = (u32, &(Arc<str>, Mode))> {
        let own = self.own.iter().map(|(counter, row)| (*counter, row));
        (0..).zip(self.rules(RuleKind::RateLimit)).chain(own)
    }

    /// The directions that a database rule speaks of.
    #[must_use]
    pub fn directions(&self, rule: usize) -> &[Direction] {
        self.directions.get(rule).map_or(&[], |directions| directions)
    }

    /// The workloads.
    #[must_use]
    pub fn workloads(&self) -> &[Arc<str>] {
        &self.workloads
    }

    /// The names of a set of workloads.
    pub fn of<'a>(&'a self, set: &'a WorkloadSet) -> impl Iterator<Item = &'a Arc<str>> {
        self.workloads.iter().enumerate().filter(|(index, _)| set.contains(*index)).map(|(_, name)| name)
    }
}

fn row(name: &str, mode: crate::config::Mode) -> (Arc<str>, Mode) {
    (Arc::from(name), Mode::from(mode))
}

fn tags(about: &About) -> Arc<Tags> {
    Arc::new(Tags {
        severity: Some(about.severity.name()),
        practice: about.practice.as_deref().map(Arc::from),
        attack: about.attack.iter().map(|id| Arc::from(&**id)).collect(),
    })
}

fn directions(rule: &crate::config::Database) -> Vec<Direction> {
    let speaks = |direction: &Direction| match direction {
        Direction::Client => rule.clients.is_some(),
        Direction::Server => rule.servers.is_some(),
        Direction::Source => rule.sources.is_some(),
    };
    Direction::ALL.into_iter().filter(speaks).collect()
}
