//! Compiles the rules about programs, databases and raw sockets, one by one.

use anyhow::Result;
use monitor_common::policy::{Action, Masks, Mode, Rule, WorkloadSet, masks::Direction};

use crate::config::{self, Config, Report, Severity};

/// What this kernel can't carry out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unenforceable {
    /// Why execs can be neither refused nor killed before they run, if so.
    pub exec: Option<&'static str>,
    /// Why programs can't be killed before they run, if so, whether or not they can be refused.
    pub kill: Option<&'static str>,
    /// Why nothing is seen of unix sockets, if so; nothing is seen of packet sockets then, either.
    pub unix: Option<&'static str>,
}

fn set(workloads: &[usize]) -> WorkloadSet {
    let mut set = WorkloadSet::EMPTY;
    workloads.iter().for_each(|index| set.insert(*index));
    set
}

/// The error for a rule that would not hold.
fn cannot_hold(config: &Config, name: &str, place: &config::Place, reason: &str, help: &str) -> Report {
    let message = format!("rule \"{name}\" can't be enforced on this kernel: {reason}");
    Report::new(vec![config.diagnostic(Severity::Error, place, message).help(help)])
}

/// An exec rule that applies to those in `users`, or to everybody if that is empty.
pub(super) fn exec_rule(
    config: &Config,
    rule: &config::Exec,
    users: WorkloadSet,
    cannot: &Unenforceable,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<Rule, Report> {
    let action = rule.action.into();
    let mut mode = rule.mode.into();
    // Arguments can't be read when an exec can still be refused.
    let cannot = if action == Action::Kill || rule.args.is_some() { cannot.kill } else { cannot.exec };
    let mut other = rule.when_stale.is_other(rule.mode);
    if let (Some(reason), true, true) =
        (cannot, rule.when_stale.may_enforce(rule.mode), action != Action::Alert)
    {
        if !rule.degrade {
            let help = "write `degrade = \"observe\"` in the rule to have it report only";
            return Err(cannot_hold(config, &rule.name, &rule.place, reason, help));
        }
        degraded.push((rule.name.clone(), reason));
        (mode, other) = (Mode::Observe, false);
    }
    // Who is left out takes the place of who is meant, which is then what else must be true; with users besides, there would be
    // three.
    let (compiled, also) = match &rule.by {
        by if !rule.except.is_empty() => {
            let by = by.as_deref().map(set);
            (Rule::new(set(&rule.except), Action::Next, action, mode), by.unwrap_or(users))
        }
        Some(by) => (Rule::new(set(by), action, Action::Next, mode), users),
        None => (Rule::new(WorkloadSet::EMPTY, action, action, mode), users),
    };
    Ok(Rule { also, ..compiled }.other_when_stale(other))
}

/// Rules about databases and about who may listen, by direction. A rule that says nothing of a direction is in no mask of it.
pub(super) fn database_rules(
    config: &Config,
    cannot: &Unenforceable,
    masks: &mut Masks,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<[Vec<Rule>; Direction::ALL.len()], Report> {
    let mut tables: [Vec<Rule>; Direction::ALL.len()] = Default::default();
    for (index, rule) in config.endpoints().enumerate() {
        if let (Some(reason), false) = (cannot.unix, rule.sockets.is_empty()) {
            if rule.when_stale.may_enforce(rule.mode) && !rule.degrade {
                let help = "write `degrade = \"observe\"` in the rule to do without its `sockets`: nothing is seen of them \
                            then, the rest of the rule holds";
                return Err(cannot_hold(config, &rule.name, &rule.place, reason, help));
            }
            degraded.push((rule.name.clone(), reason));
        }
        let (mode, other): (Mode, _) = (rule.mode.into(), rule.when_stale.is_other(rule.mode));
        let action = rule.action.into();
        let of = |workloads: &Option<Vec<usize>>| {
            let rule = Rule::new(set(workloads.as_deref().unwrap_or_default()), Action::Allow, action, mode);
            rule.other_when_stale(other)
        };
        tables[Direction::Client as usize].push(of(&rule.clients));
        tables[Direction::Server as usize].push(of(&rule.servers));
        let dropped = if action == Action::Deny { Action::Drop } else { action };
        let sources = Rule::new(WorkloadSet::EMPTY, Action::Allow, dropped, mode);
        tables[Direction::Source as usize].push(sources.other_when_stale(other));
        for (given, mask) in [
            (true, &mut masks.databases),
            (rule.clients.is_some(), &mut masks.clients),
            (rule.servers.is_some(), &mut masks.servers),
            (rule.sources.is_some(), &mut masks.sources),
            (rule.addresses.is_empty(), &mut masks.any_address),
        ] {
            if given {
                mask.insert(index);
            }
        }
    }
    Ok(tables)
}

/// Who may open raw sockets. Packet sockets are seen by the same security hooks as unix sockets, or not at all.
pub(super) fn raw_rule(
    config: &Config,
    cannot: &Unenforceable,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<Option<Rule>, Report> {
    let Some(rule) = &config.raw_sockets else { return Ok(None) };
    let refuses = rule.when_stale.may_enforce(rule.mode) && rule.action == config::Action::Deny;
    if refuses && cannot.unix.is_some() {
        let (name, reason) =
            ("raw_sockets", "packet sockets are not seen without BPF LSM, raw IP sockets are");
        if !rule.degrade {
            let help = "write `degrade = \"observe\"` in the table to do without packet sockets: nothing is seen of them then, \
                        raw IP sockets are refused all the same";
            return Err(cannot_hold(config, name, &rule.place, reason, help));
        }
        degraded.push((name.to_owned(), reason));
    }
    let compiled = Rule::new(set(&rule.allow), Action::Allow, rule.action.into(), rule.mode.into());
    Ok(Some(compiled.other_when_stale(rule.when_stale.is_other(rule.mode))))
}

/// Who may get at the memory of others. It is refused by a security hook, and reported without one.
pub(super) fn memory_rule(
    config: &Config,
    cannot: &Unenforceable,
    degraded: &mut Vec<(String, &'static str)>,
) -> Result<Option<Rule>, Report> {
    let Some(rule) = &config.process_memory else { return Ok(None) };
    let refuses = rule.when_stale.may_enforce(rule.mode) && rule.action == config::Action::Deny;
    let (mut mode, mut other) = (rule.mode.into(), rule.when_stale.is_other(rule.mode));
    if refuses && cannot.unix.is_some() {
        let (name, reason) = ("process_memory", "nobody can be kept from it without BPF LSM, only reported");
        if !rule.degrade {
            let help = "write `degrade = \"observe\"` in the table to have it report only";
            return Err(cannot_hold(config, name, &rule.place, reason, help));
        }
        degraded.push((name.to_owned(), reason));
        (mode, other) = (Mode::Observe, false);
    }
    Ok(Some(Rule::new(set(&rule.allow), Action::Allow, rule.action.into(), mode).other_when_stale(other)))
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
