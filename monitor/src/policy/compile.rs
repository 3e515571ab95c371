//! Compiles the checked configuration into the tables of the kernel programs.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use anyhow::Result;
use monitor_common::{
    addr::Addr,
    identity::{ExeId, FileEntry, FileKey},
    limit::{Limit, RateRule},
    packet::{TCP, UDP},
    policy::{Action, Membership, Mode, Rule, RuleSet, WorkloadSet, ports::port_index},
    settings::class,
};

use super::globs::{self, Globs};
use crate::{
    config::{self, Class, Config, Pattern, Protocol, Report, Severity},
    host::{file::Tree, ssh::Ssh},
};

/// What this kernel can't carry out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unenforceable {
    /// Why execs can be neither refused nor killed before they run, if so.
    pub exec: Option<&'static str>,
}

/// A policy, ready for the kernel.
pub struct Compiled {
    /// `[[exec]]` rules.
    pub exec_rules: Vec<Rule>,
    /// `[[database]]` rules.
    pub database_rules: Vec<Rule>,
    /// `[[rate_limit]]` rules.
    pub rate_rules: Vec<RateRule>,
    /// Database rules by port index.
    pub database_ports: BTreeMap<u32, RuleSet>,
    /// Rate limits by port index.
    pub rate_ports: BTreeMap<u32, RuleSet>,
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
    paths: Vec<(PathBuf, Membership)>,
}

/// What the patterns of a policy stand for, while it is being collected.
struct Patterns {
    paths: Vec<(PathBuf, Membership)>,
    globs: Vec<(String, Membership)>,
    classes: [Membership; class::COUNT as usize],
}

impl Compiled {
    /// Compiles a configuration for a host.
    ///
    /// # Errors
    /// Names the rule and its place where the kernel can't carry it out or a bound is passed.
    pub fn new(config: &Config, tree: &Tree, cannot: &Unenforceable) -> Result<Self> {
        let mut patterns = Patterns {
            paths: Vec::new(),
            globs: Vec::new(),
            classes: [Membership::NONE; class::COUNT as usize],
        };
        let mut degraded = Vec::new();
        for (index, workload) in config.workloads.iter().enumerate() {
            let mut member = Membership::NONE;
            member.workloads.insert(index);
            workload.exe.iter().for_each(|pattern| patterns.add(tree, &pattern.value, member));
        }
        let mut exec_rules = Vec::new();
        for (index, rule) in config.execs.iter().enumerate() {
            let mut member = Membership::NONE;
            member.exec_rules.insert(index);
            rule.deny.iter().for_each(|pattern| patterns.add(tree, &pattern.value, member));
            exec_rules.push(exec_rule(config, rule, cannot, &mut degraded)?);
        }
        let database_rules = config.databases.iter().map(database_rule).collect();
        let database_ports = by_port(config.databases.iter().map(|rule| (Protocol::Any, &rule.ports[..])));
        let rate_rules =
            config.rate_limits.iter().map(|rule| rate_rule(config, rule)).collect::<Result<_, Report>>()?;
        let rate_ports = by_port(config.rate_limits.iter().map(|rule| (rule.protocol, &rule.ports[..])));
        Ok(Self {
            exec_rules,
            database_rules,
            rate_rules,
            database_ports,
            rate_ports,
            globs: globs::compile(&patterns.globs)?,
            classes: patterns.classes,
            protected: config.agent.protect.prefixes.iter().map(protected).collect(),
            protected_ports: config
                .agent
                .protect
                .ports
                .iter()
                .flat_map(|(protocol, port)| indices(*protocol, *port))
                .collect(),
            degraded,
            paths: patterns.paths,
        })
    }

    /// Has no rate limit ever drop what belongs to SSH.
    pub fn protect(&mut self, ssh: &Ssh) {
        self.protected
            .extend(ssh.peers.iter().map(|peer| protected(&(*peer, if peer.is_ipv4() { 32 } else { 128 }))));
        self.protected_ports.extend(ssh.ports.iter().map(|port| port_index(TCP, *port)));
    }

    /// The paths by which the policy names files, each with what the file stands for.
    #[must_use]
    pub fn paths(&self) -> &[(PathBuf, Membership)] {
        &self.paths
    }

    /// The workloads that a process belongs to which runs a file and was not seen to start.
    #[must_use]
    pub fn workloads(
        &self,
        files: &HashMap<FileKey, FileEntry>,
        exe: &ExeId,
        path: Option<&[u8]>,
    ) -> WorkloadSet {
        let mut member = path.map_or(Membership::NONE, |path| self.globs.matches(path));
        if let Some(entry) = files.get(&exe.key()).filter(|entry| entry.exe.same(exe)) {
            member.add(&entry.member);
        }
        member.workloads
    }
}

impl Patterns {
    fn add(&mut self, tree: &Tree, pattern: &Pattern, member: Membership) {
        match pattern {
            // A directory stands for what is below it.
            Pattern::Path(path) => match tree.resolve(Path::new(path)) {
                Ok(found) if found.is_dir => self.glob(tree, &format!("{path}/**"), member),
                _ => self.paths.push((path.into(), member)),
            },
            Pattern::Glob(glob) => self.glob(tree, glob, member),
            Pattern::Class(of) => {
                let class = match of {
                    Class::Memfd => class::MEMFD,
                    Class::Deleted => class::DELETED,
                    Class::Unplaced => class::UNPLACED,
                };
                self.classes[class as usize].add(&member);
            }
        }
    }

    /// Adds a glob. Its directories up to the first wildcard are followed to where they really are: what runs from
    /// `/bin` lies in `/usr/bin` on a merged system.
    fn glob(&mut self, tree: &Tree, glob: &str, member: Membership) {
        let wild = glob.find(['*', '?', '[', '{']).unwrap_or(glob.len());
        let (directory, rest) = glob.split_at(glob[..wild].rfind('/').unwrap_or(0));
        let real = tree
            .resolve(Path::new(directory))
            .ok()
            .and_then(|found| found.path.into_os_string().into_string().ok());
        // A name with wildcard characters in it would be read as a glob; then the path is taken as it is written.
        let real = real.filter(|real| real != "/" && !real.contains(['*', '?', '[', '{', '\\']));
        self.globs.push((format!("{}{rest}", real.as_deref().unwrap_or(directory)), member));
        // A path that is too long to be compared counts as a match for a rule, never for a workload.
        let unreadable = Membership { workloads: WorkloadSet::EMPTY, ..member };
        self.classes[class::OVERLONG as usize].add(&unreadable);
    }
}

fn set(workloads: &[usize]) -> WorkloadSet {
    let mut set = WorkloadSet::EMPTY;
    workloads.iter().for_each(|index| set.insert(*index));
    set
}

fn exec_rule(
    config: &Config,
    rule: &config::Exec,
    cannot: &Unenforceable,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<Rule, Report> {
    let action = rule.action.into();
    let mut mode = rule.mode.into();
    if let (Some(reason), Mode::Enforce, true) = (cannot.exec, mode, action != Action::Alert) {
        if !rule.degrade {
            let message = format!("rule \"{}\" can't be enforced on this kernel: {reason}", rule.name);
            let error = config.diagnostic(Severity::Error, &rule.place, message);
            return Err(Report::new(vec![
                error.help("write `degrade = \"observe\"` in the rule to have it report only"),
            ]));
        }
        degraded.push((rule.name.clone(), reason));
        mode = Mode::Observe;
    }
    Ok(match &rule.by {
        Some(by) => Rule::new(set(by), action, Action::Next, mode),
        None => Rule::new(WorkloadSet::EMPTY, action, action, mode),
    })
}

fn database_rule(rule: &config::Database) -> Rule {
    Rule::new(set(&rule.clients), Action::Allow, rule.action.into(), rule.mode.into())
}

fn rate_rule(config: &Config, rule: &config::RateLimit) -> Result<RateRule, Report> {
    let limit = |limit: Option<config::Limit>| {
        let Some(config::Limit { rate, burst }) = limit else { return Ok(Limit::NONE) };
        Limit::new(rate.count, rate.per_ns, burst).ok_or_else(|| {
            let message = format!("rate limit \"{}\": the burst takes too long to come back", rule.name);
            Report::new(vec![
                config.diagnostic(Severity::Error, &rule.place, message).help("write a smaller burst"),
            ])
        })
    };
    Ok(RateRule {
        packets: limit(rule.packets)?,
        connections: limit(rule.connections)?,
        bytes: limit(rule.bytes)?,
        mode: Mode::from(rule.mode) as u32,
        zero: 0,
    })
}

type Ports<'a> = (Protocol, &'a [std::ops::RangeInclusive<u16>]);

/// Rules by port.
fn by_port<'a>(rules: impl Iterator<Item = Ports<'a>>) -> BTreeMap<u32, RuleSet> {
    let mut table: BTreeMap<u32, RuleSet> = BTreeMap::new();
    for (rule, (protocol, ranges)) in rules.enumerate() {
        for port in ranges.iter().cloned().flatten() {
            indices(protocol, port)
                .for_each(|index| table.entry(index).or_insert(RuleSet::EMPTY).insert(rule));
        }
    }
    table
}

fn indices(protocol: Protocol, port: u16) -> impl Iterator<Item = u32> {
    let tcp = protocol.has_tcp().then(|| port_index(TCP, port));
    let udp = protocol.has_udp().then(|| port_index(UDP, port));
    tcp.into_iter().chain(udp)
}

fn protected((addr, length): &(std::net::IpAddr, u8)) -> (Addr, u32) {
    let mapped = if addr.is_ipv4() { 96 } else { 0 };
    (Addr::from(*addr), u32::from(*length) + mapped)
}

impl From<config::Mode> for Mode {
    fn from(mode: config::Mode) -> Self {
        match mode {
            config::Mode::Observe => Self::Observe,
            config::Mode::Enforce => Self::Enforce,
        }
    }
}

impl From<config::Action> for Action {
    fn from(action: config::Action) -> Self {
        match action {
            config::Action::Alert => Self::Alert,
            config::Action::Deny => Self::Deny,
            config::Action::Kill => Self::Kill,
        }
    }
}
