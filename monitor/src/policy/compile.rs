//! Compiles the checked configuration into the tables of the kernel programs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::{Result, bail};
use monitor_common::{
    addr::Addr,
    event::Endpoint,
    identity::{ExeId, FileEntry, FileKey},
    limit::{RateHead, RateRule},
    limits,
    policy::{
        Decision, Masks, Membership, Rule, RuleSet, WorkloadSet, decide,
        masks::{Direction, Kin},
        ports::port_index,
    },
    settings::class,
};

use super::{
    globs::{self, Globs},
    interfaces::OnInterfaces,
    patterns::{Named, Patterns},
    ports::{by_port, indices},
    prefixes::{Prefixes, mapped},
    rates::Rates,
    rules::{Unenforceable, database_rules, exec_rule, memory_rule, raw_rule},
    workloads::{Accounts, Subjects},
};
use crate::{
    config::{Config, ListKind, Protocol},
    host::file::Tree,
};

/// What a policy is compiled for.
pub struct Host<'a> {
    /// Where links are followed; none takes paths as they are written.
    pub tree: Option<&'a Tree>,
    /// Users and groups.
    pub accounts: &'a dyn Accounts,
    /// What this kernel can't carry out.
    pub cannot: Unenforceable,
}

/// A policy, ready for the kernel.
pub struct Compiled {
    /// `[[exec]]` rules.
    pub exec_rules: Vec<Rule>,
    /// `[[database]]` rules, by direction.
    pub database_rules: [Vec<Rule>; Direction::ALL.len()],
    /// `[raw_sockets]`, if given.
    pub raw_rule: Option<Rule>,
    /// `[process_memory]`, if given.
    pub memory_rule: Option<Rule>,
    /// `[[rate_limit]]` rules in the order in which they are evaluated: their bit in all sets.
    pub rate_rules: Vec<RateRule>,
    /// What is done about packets that can't be read; a rule without limits if nothing is.
    pub unparsed_rule: RateRule,
    /// Which rules and workloads ask about what.
    pub masks: Masks,
    /// By workload, those that name it as parent or ancestor.
    pub kin: Vec<Kin>,
    /// By real user, the workloads that name it.
    pub users: HashMap<u32, WorkloadSet>,
    /// By real group, the workloads that name it.
    pub groups: HashMap<u32, WorkloadSet>,
    /// Database rules by port index.
    pub database_ports: BTreeMap<u32, RuleSet>,
    /// Rules about who may listen by port index; they are numbered after the database rules.
    pub listen_ports: BTreeMap<u32, RuleSet>,
    /// Database rules by address.
    pub addresses: Prefixes,
    /// Database rules by the addresses that may reach their server.
    pub senders: Prefixes,
    /// Rate limits by port index.
    pub rate_ports: BTreeMap<u32, RuleSet>,
    /// What the packet programs have to know before they know the packet.
    pub rate_head: RateHead,
    /// By source, all rate limits that hold for it. What is in no prefix: [`RateHead::unlisted`].
    pub rate_sources: Prefixes,
    /// How many sets the table of sources has: a power of two.
    pub source_sets: u32,
    /// All globs.
    pub globs: Globs,
    /// Classes of files, by their code.
    pub classes: [Membership; class::COUNT as usize],
    /// Prefixes that are never dropped, with their length in bits of the 128.
    pub protected: Vec<(Addr, u32)>,
    /// Port indices that are never dropped.
    pub protected_ports: Vec<u32>,
    /// Rules that observe because this kernel can't do what they say, with the reason.
    pub degraded: Vec<(String, &'static str)>,
    /// Whether a workload asks for a cgroup or unit.
    pub asks_cgroup: bool,
    /// Workloads, those without a name included.
    pub workload_count: usize,
    /// What is different from interface to interface.
    pub interfaces: Arc<OnInterfaces>,
    files: Vec<Named>,
}

impl Compiled {
    /// Compiles a configuration for a host.
    ///
    /// # Errors
    /// Names the rule and its place where the kernel can't carry it out or a bound is passed.
    pub fn new(config: &Config, host: &Host) -> Result<Self> {
        let mut patterns = Patterns::new(host.tree);
        let mut subjects = Subjects::new(config, &mut patterns, host.accounts)?;
        let mut degraded = Vec::new();
        let mut exec_rules = Vec::new();
        for (index, rule) in config.execs.iter().enumerate() {
            let member = rule_member(index);
            rule.files.iter().for_each(|pattern| patterns.add(&pattern.value, member, &[]));
            patterns.arguments(rule.args.as_ref(), member);
            let also = match rule.users.is_empty() {
                true => WorkloadSet::EMPTY,
                false => subjects.of_users(config, rule, host.accounts)?,
            };
            exec_rules.push(exec_rule(config, rule, also, &host.cannot, &mut degraded)?);
            if rule.list == ListKind::Allow {
                subjects.masks.exec_allow.insert(index);
            }
            if rule.args.is_some() {
                subjects.masks.exec_args.insert(index);
            }
        }
        patterns.distrust_overlong(&subjects.masks.exec_allow);
        if !exec_rules.is_empty() {
            patterns.know_loaders();
        }
        for (index, rule) in config.databases.iter().enumerate() {
            rule.sockets.iter().for_each(|socket| patterns.socket(&socket.value, rule_member(index)));
        }
        let database_rules = database_rules(config, &host.cannot, &mut subjects.masks, &mut degraded)?;
        let raw_rule = raw_rule(config, &host.cannot, &mut degraded)?;
        let memory_rule = memory_rule(config, &host.cannot, &mut degraded)?;
        let database_ports = by_port(config.databases.iter().map(|rule| (Protocol::Any, &rule.ports[..])));
        let others = config.databases.iter().map(|_| (Protocol::Any, &[][..]));
        let listens = config.listens.iter().map(|rule| (Protocol::Any, &rule.ports[..]));
        let listen_ports = by_port(others.chain(listens));
        let mut addresses =
            Prefixes::new(config.endpoints().enumerate().map(|(index, rule)| (index, &rule.addresses[..])));
        addresses.unspecified_is_loopback();
        let lists = config.databases.iter().enumerate();
        let senders =
            Prefixes::new(lists.filter_map(|(index, rule)| Some((index, rule.sources.as_deref()?))));
        let rates = Rates::new(config)?;
        for (what, prefixes) in [
            ("addresses of all database rules", &addresses),
            ("sources of all database rules", &senders),
            ("sources and exceptions of all rate limits", &rates.sources),
        ] {
            if prefixes.len() > limits::PREFIXES as usize {
                bail!("the {what} need {} prefixes, more than {}", prefixes.len(), limits::PREFIXES);
            }
        }
        let in_cgroup =
            |workload: &crate::config::Workload| !workload.units.is_empty() || !workload.cgroups.is_empty();
        Ok(Self {
            exec_rules,
            database_rules,
            raw_rule,
            memory_rule,
            rate_rules: rates.rules,
            unparsed_rule: rates.unparsed,
            workload_count: subjects.count(),
            masks: subjects.masks,
            kin: subjects.kin,
            users: subjects.users,
            groups: subjects.groups,
            database_ports,
            listen_ports,
            addresses,
            senders,
            rate_ports: rates.ports,
            rate_head: rates.head,
            rate_sources: rates.sources,
            source_sets: rates.source_sets,
            interfaces: Arc::new(OnInterfaces::new(config, rates.interfaces, rates.everywhere)?),
            globs: globs::compile(&patterns.globs)?,
            classes: patterns.classes,
            protected: config.agent.protect.prefixes.iter().map(mapped).collect(),
            protected_ports: config
                .agent
                .protect
                .ports
                .iter()
                .flat_map(|(protocol, port)| indices(*protocol, *port))
                .collect(),
            degraded,
            asks_cgroup: config.workloads.iter().any(in_cgroup),
            files: patterns.paths,
        })
    }

    /// The files that the policy names by path, each with what it stands for.
    #[must_use]
    pub fn files(&self) -> &[Named] {
        &self.files
    }

    /// What a file stands for: by its path in the host's tree, and by its identity.
    #[must_use]
    pub fn file(&self, files: &HashMap<FileKey, FileEntry>, exe: &ExeId, path: Option<&[u8]>) -> Membership {
        let mut member = path.map_or(Membership::NONE, |path| self.globs.matches(path));
        if let Some(entry) = files.get(&exe.key()) {
            member.rules.add(&entry.member.rules);
            if entry.exe.same(exe) {
                member.workloads.add(&entry.member.workloads);
            }
        }
        member
    }

    /// The workloads that name a cgroup, given by its path, or one above it.
    #[must_use]
    pub fn cgroup(&self, path: &[u8]) -> WorkloadSet {
        use monitor_common::settings::tag::CGROUP;
        let mut found = self.globs.tagged(CGROUP, b"/").workloads;
        let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]).filter(|end| *end > 1).take(limits::CGROUP_DEPTH as usize - 1) {
            found.add(&self.globs.tagged(CGROUP, &path[..end]).workloads);
        }
        found
    }

    /// The workloads that name a cgroup itself.
    #[must_use]
    pub fn cgroup_itself(&self, path: &[u8]) -> WorkloadSet {
        self.globs.tagged(monitor_common::settings::tag::CGROUP, path).workloads
    }

    /// The database rules that speak of an endpoint.
    #[must_use]
    pub fn database_candidates(&self, direction: Direction, end: &Endpoint) -> RuleSet {
        let index = port_index(end.protocol, end.port);
        let of = |ports: &BTreeMap<u32, RuleSet>| ports.get(&index).copied().unwrap_or(RuleSet::EMPTY);
        let by_port = match direction {
            Direction::Server => of(&self.database_ports).or(&of(&self.listen_ports)),
            _ => of(&self.database_ports),
        };
        let by_address = if direction == Direction::Server && end.addr.is_unspecified() {
            by_port
        } else {
            self.addresses.look_up(&end.addr)
        };
        self.masks.database_candidates(direction, &by_port, &by_address)
    }

    /// Decides on what a process asks of a database.
    #[must_use]
    pub fn decide_database(&self, direction: Direction, end: &Endpoint, subject: &WorkloadSet) -> Decision {
        let candidates = self.database_candidates(direction, end);
        decide(&&self.database_rules[direction as usize][..], &candidates, subject)
    }
}

fn rule_member(index: usize) -> Membership {
    let mut member = Membership::NONE;
    member.rules.insert(index);
    member
}
