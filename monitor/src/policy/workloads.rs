//! Compiles what workloads ask about processes.

use std::collections::HashMap;

use anyhow::Result;
use monitor_common::{
    limits,
    policy::{Masks, Membership, WorkloadSet, masks::Kin},
};

use super::{globs::Text, patterns::Patterns};
use crate::config::{self, Account, Config, Report, Severity, Spanned};

/// Turns names of users and groups into numbers.
pub trait Accounts {
    /// The number of a user.
    ///
    /// # Errors
    /// Says where it was looked for.
    fn user(&self, name: &str) -> Result<u32>;
    /// The number of a group.
    ///
    /// # Errors
    /// As above.
    fn group(&self, name: &str) -> Result<u32>;
}

/// What is asked about processes, apart from the files they run.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    /// Which workload asks about what.
    pub(super) masks: Masks,
    /// By workload, those that name it as parent or ancestor.
    pub(super) kin: Vec<Kin>,
    /// By real user.
    pub(super) users: HashMap<u32, WorkloadSet>,
    /// By real group.
    pub(super) groups: HashMap<u32, WorkloadSet>,
    /// How many workloads there are, those without a name included.
    count: usize,
    /// Workloads without a name that exec rules need for their users, by those users.
    nameless: HashMap<Vec<u32>, usize>,
}

impl Subjects {
    /// Compiles the workloads of a configuration.
    pub(super) fn new(config: &Config, patterns: &mut Patterns, accounts: &dyn Accounts) -> Result<Self> {
        let kin = vec![Kin { parent: WorkloadSet::EMPTY, ancestor: WorkloadSet::EMPTY }; limits::WORKLOADS];
        let mut found = Self {
            masks: Masks::NONE,
            kin,
            users: HashMap::new(),
            groups: HashMap::new(),
            count: 0,
            nameless: HashMap::new(),
        };
        for workload in &config.workloads {
            found.add(config, workload, patterns, accounts)?;
        }
        Ok(found)
    }

    fn add(
        &mut self,
        config: &Config,
        workload: &config::Workload,
        patterns: &mut Patterns,
        accounts: &dyn Accounts,
    ) -> Result<()> {
        let index = self.count;
        self.count += 1;
        let member = one(index);
        for pattern in &workload.exe {
            patterns.add(&pattern.value, member, &workload.sha256);
        }
        for unit in &workload.units {
            patterns.globs.push((Text::Unit(unit.value.clone()), member));
        }
        for cgroup in &workload.cgroups {
            patterns.globs.push((Text::Cgroup(cgroup.value.clone()), member));
        }
        for uid in ids(config, &workload.users, |name| accounts.user(name))? {
            self.users.entry(uid).or_insert(WorkloadSet::EMPTY).insert(index);
        }
        for gid in ids(config, &workload.groups, |name| accounts.group(name))? {
            self.groups.entry(gid).or_insert(WorkloadSet::EMPTY).insert(index);
        }
        for parent in &workload.parents {
            self.kin[*parent].parent.insert(index);
            self.masks.kin.insert(*parent);
        }
        for ancestor in &workload.ancestors {
            self.kin[*ancestor].ancestor.insert(index);
            self.masks.kin.insert(*ancestor);
        }
        let masks = &mut self.masks;
        let in_no_cgroup = workload.units.is_empty() && workload.cgroups.is_empty();
        for (free, mask) in [
            (workload.exe.is_empty(), &mut masks.any_exe),
            (workload.users.is_empty(), &mut masks.any_user),
            (workload.groups.is_empty(), &mut masks.any_group),
            (in_no_cgroup, &mut masks.any_cgroup),
            (workload.parents.is_empty(), &mut masks.any_parent),
            (workload.ancestors.is_empty(), &mut masks.any_ancestor),
            (workload.descendants, &mut masks.descendants),
        ] {
            if free {
                mask.insert(index);
            }
        }
        Ok(())
    }

    /// The workload of everybody with one of these users: one without a name, made when it is first asked for.
    pub(super) fn of_users(
        &mut self,
        config: &Config,
        rule: &config::Exec,
        accounts: &dyn Accounts,
    ) -> Result<WorkloadSet> {
        let mut uids = ids(config, &rule.users, |name| accounts.user(name))?;
        uids.sort_unstable();
        if let Some(index) = self.nameless.get(&uids) {
            return Ok(one(*index).workloads);
        }
        let index = self.count;
        if index >= limits::WORKLOADS {
            let message = format!(
                "too many workloads: {} is the limit, and the `user` of an exec rule counts as one",
                limits::WORKLOADS
            );
            let error = config.diagnostic(Severity::Error, &rule.place, message);
            return Err(Report::new(vec![error.help("join workloads, or rules with other users")]).into());
        }
        self.count += 1;
        for uid in &uids {
            self.users.entry(*uid).or_insert(WorkloadSet::EMPTY).insert(index);
        }
        let masks = &mut self.masks;
        for mask in [
            &mut masks.any_exe,
            &mut masks.any_group,
            &mut masks.any_cgroup,
            &mut masks.any_parent,
            &mut masks.any_ancestor,
        ] {
            mask.insert(index);
        }
        self.nameless.insert(uids, index);
        Ok(one(index).workloads)
    }

    /// How many workloads there are, those without a name included.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

fn one(index: usize) -> Membership {
    let mut member = Membership::NONE;
    member.workloads.insert(index);
    member
}

/// The numbers of accounts.
fn ids(
    config: &Config,
    accounts: &[Spanned<Account>],
    look_up: impl Fn(&str) -> Result<u32>,
) -> Result<Vec<u32>> {
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for account in accounts {
        let id = match &account.value {
            Account::Id(id) => Ok(*id),
            Account::Name(name) => look_up(name),
        };
        match id {
            Ok(id) => found.push(id),
            Err(error) => {
                errors.push(config.diagnostic(Severity::Error, &account.place, format!("{error:#}")));
            }
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(Report::new(errors).into()) }
}
