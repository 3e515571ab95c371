//! What workloads of one policy are in the next: so that nobody is forgotten who can't be known again from `/proc`, such as
//! the descendants of a process that has ended.

use std::collections::HashMap;

use monitor_common::{
    identity::{Process, SCANNED},
    policy::{Masks, WorkloadSet},
};

use crate::config::{Config, Workload};

/// The workloads of a policy that were in the one before and say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heirs {
    /// Indices before and now.
    same: Vec<(usize, usize)>,
    /// Whether these are all that the policy has.
    all: bool,
}

impl Heirs {
    /// Compares two policies. A workload says the same only if those do that it names.
    #[must_use]
    pub fn new(old: &Config, new: &Config) -> Self {
        let (Some(old), Some(new)) = (old.without_places(), new.without_places()) else {
            return Self::default();
        };
        let before: HashMap<&str, usize> =
            old.workloads.iter().enumerate().map(|(index, workload)| (&*workload.name, index)).collect();
        let mut same: HashMap<usize, usize> = HashMap::new();
        for (index, workload) in new.workloads.iter().enumerate() {
            let Some(was) = before.get(&*workload.name) else { continue };
            if says_the_same(&old.workloads[*was], workload) {
                same.insert(index, *was);
            }
        }
        loop {
            let kin_differ = |(index, was): (&usize, &usize)| {
                let (old, new) = (&old.workloads[*was], &new.workloads[*index]);
                !(same_kin(&old.parents, &new.parents, &same)
                    && same_kin(&old.ancestors, &new.ancestors, &same))
            };
            let Some(index) = same.iter().find(|pair| kin_differ(*pair)).map(|(index, _)| *index) else {
                break;
            };
            same.remove(&index);
        }
        let all = same.len() == new.workloads.len();
        Self { same: same.into_iter().map(|(index, was)| (was, index)).collect(), all }
    }

    /// Whether everything that was known of a process says all there is to know for the new policy, too.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.all
    }

    /// What is known of a process, in terms of the new policy. `judged` is what `/proc` says of it, for workloads that the
    /// old policy didn't have; a [`Process::stranger`] where there are none.
    #[must_use]
    pub fn inherit(&self, before: &Process, judged: &Process, masks: &Masks) -> Process {
        let mut now = *judged;
        (now.exe, now.start_ns, now.ppid) = (before.exe, before.start_ns, before.ppid);
        now.flags = before.flags & !SCANNED | judged.flags & SCANNED;
        // Where it is, the next hook finds out.
        now.cgroup = 0;
        for (set, was) in [
            (&mut now.of_exe, &before.of_exe),
            (&mut now.of_place, &before.of_place),
            (&mut now.of_parent, &before.of_parent),
            (&mut now.of_ancestor, &before.of_ancestor),
            (&mut now.kept, &before.kept),
        ] {
            self.take_over(set, was);
        }
        now.settle(masks);
        now
    }

    fn take_over(&self, set: &mut WorkloadSet, was: &WorkloadSet) {
        for (before, now) in &self.same {
            set.bits[*now / 64] &= !(1 << (*now % 64));
            if was.contains(*before) {
                set.insert(*now);
            }
        }
    }
}

/// Everything but the indices of others.
fn says_the_same(old: &Workload, new: &Workload) -> bool {
    let plain =
        |workload: &Workload| Workload { parents: Vec::new(), ancestors: Vec::new(), ..workload.clone() };
    plain(old) == plain(new)
}

fn same_kin(old: &[usize], new: &[usize], same: &HashMap<usize, usize>) -> bool {
    let mut was: Vec<Option<usize>> = new.iter().map(|index| same.get(index).copied()).collect();
    was.sort_unstable();
    was.len() == old.len() && was.iter().zip(old).all(|(was, old)| *was == Some(*old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Compiled, Host, Unenforceable, ask::AnyAccounts};

    fn config(text: &str) -> Config {
        Config::from_text(text).unwrap()
    }

    fn masks(config: &Config) -> Masks {
        let accounts = AnyAccounts::new(None);
        let host = Host { tree: None, accounts: &accounts, cannot: Unenforceable::default() };
        Compiled::new(config, &host).unwrap().masks
    }

    const A: &str = "[[workload]]\nname = \"a\"\nexe = [\"/a\"]\n";
    const B: &str = "[[workload]]\nname = \"b\"\nexe = [\"/b\"]\ndescendants = true\n";
    const BELOW_A: &str = "[[workload]]\nname = \"c\"\nancestor = [\"a\"]\n";

    fn set(of: &[usize]) -> WorkloadSet {
        let mut set = WorkloadSet::EMPTY;
        of.iter().for_each(|index| set.insert(*index));
        set
    }

    #[test]
    fn who_was_a_member_still_is_wherever_the_workload_stands_now() {
        let (old, new) = (config(&format!("{A}{B}{BELOW_A}")), config(&format!("{B}\n\n{A}{BELOW_A}")));
        let heirs = Heirs::new(&old, &new);
        assert!(heirs.are_all());
        let masks = masks(&new);
        let before = Process { kept: set(&[1]), of_ancestor: set(&[0, 1, 2]), ..Process::stranger(&masks) };
        let now = heirs.inherit(&before, &Process::stranger(&masks), &masks);
        assert_eq!(now.kept, set(&[0]));
        assert_eq!(now.of_ancestor, set(&[0, 1, 2]));
        assert_eq!(now.cgroup, 0);
    }

    #[test]
    fn a_workload_that_says_something_else_is_judged_anew_and_so_are_those_that_name_it() {
        let changed = A.replace("/a", "/other");
        let (old, new) = (config(&format!("{A}{B}{BELOW_A}")), config(&format!("{changed}{B}{BELOW_A}")));
        let heirs = Heirs::new(&old, &new);
        assert!(!heirs.are_all());
        assert_eq!(heirs.same, [(1, 1)]);
        let masks = masks(&new);
        let before = Process { kept: set(&[1, 2]), of_exe: set(&[0, 2]), ..Process::stranger(&masks) };
        let judged = Process { of_exe: set(&[1, 2]), ..Process::stranger(&masks) };
        let now = heirs.inherit(&before, &judged, &masks);
        assert_eq!(now.of_exe, set(&[2]), "a isn't what it was, b was told by the old policy");
        assert_eq!(now.kept, set(&[1]));
    }

    #[test]
    fn a_workload_that_is_gone_leaves_nothing() {
        let heirs = Heirs::new(&config(&format!("{A}{B}")), &config(B));
        assert!(heirs.are_all());
        assert_eq!(heirs.same, [(1, 0)]);
    }
}
