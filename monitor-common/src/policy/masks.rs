//! Which rules and workloads ask about what: turns what the tables say of an object into candidates, and what is known
//! of a process into its workloads.

use super::{Decision, RuleSet, WorkloadSet, verdict};

wire! {
    /// The sets that a policy is read by; one for the whole policy.
    pub struct Masks {
        /// Workloads that don't ask which file a process runs.
        pub any_exe: WorkloadSet,
        /// Workloads that don't ask for the real user.
        pub any_user: WorkloadSet,
        /// Workloads that don't ask for the real group.
        pub any_group: WorkloadSet,
        /// Workloads that don't ask for the cgroup.
        pub any_cgroup: WorkloadSet,
        /// Workloads that don't ask who made the process.
        pub any_parent: WorkloadSet,
        /// Workloads that don't ask who is above it.
        pub any_ancestor: WorkloadSet,
        /// Workloads whose members stay members, and their descendants too.
        pub descendants: WorkloadSet,
        /// Workloads that others name as parent or ancestor.
        pub kin: WorkloadSet,
        /// Exec rules that list what is allowed.
        pub exec_allow: RuleSet,
        /// Exec rules with a condition on arguments.
        pub exec_args: RuleSet,
        /// Empty.
        pub nothing: RuleSet,
        /// All database rules.
        pub databases: RuleSet,
        /// Database rules for any address.
        pub any_address: RuleSet,
        /// Database rules that say who may connect.
        pub clients: RuleSet,
        /// Database rules that say who may listen.
        pub servers: RuleSet,
        /// Database rules that say from where packets may come.
        pub sources: RuleSet,
    }

    /// What a member of a workload makes of its kin: the workloads that name it.
    pub struct Kin {
        /// As `parent`.
        pub parent: WorkloadSet,
        /// As `ancestor`.
        pub ancestor: WorkloadSet,
    }
}

/// Where the kin of workloads is looked up.
pub trait Kinship {
    /// The kin of the workload with this index.
    fn kin(&self, index: u32) -> Option<Kin>;
}

impl Kinship for &[Kin] {
    fn kin(&self, index: u32) -> Option<Kin> {
        self.get(index as usize).copied()
    }
}

/// What is asked of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// A process of this host opens a conversation.
    Client = 0,
    /// A process of this host wants to be the server.
    Server = 1,
    /// A packet arrives for the server.
    Source = 2,
}

impl Direction {
    /// All, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Client, Self::Server, Self::Source];

    /// From its code; unknown codes are `Client`.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Server,
            2 => Self::Source,
            _ => Self::Client,
        }
    }

    /// The word for it in metrics and findings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Source => "source",
        }
    }
}

impl Masks {
    /// Asks about nothing.
    pub const NONE: Self = Self {
        any_exe: WorkloadSet::EMPTY,
        any_user: WorkloadSet::EMPTY,
        any_group: WorkloadSet::EMPTY,
        any_cgroup: WorkloadSet::EMPTY,
        any_parent: WorkloadSet::EMPTY,
        any_ancestor: WorkloadSet::EMPTY,
        descendants: WorkloadSet::EMPTY,
        kin: WorkloadSet::EMPTY,
        exec_allow: RuleSet::EMPTY,
        exec_args: RuleSet::EMPTY,
        nothing: RuleSet::EMPTY,
        databases: RuleSet::EMPTY,
        any_address: RuleSet::EMPTY,
        clients: RuleSet::EMPTY,
        servers: RuleSet::EMPTY,
        sources: RuleSet::EMPTY,
    };

    /// The exec rules that speak of a file, whatever its arguments: those that name it in a deny-list, and those that
    /// don't name it in an allow-list.
    #[inline(always)]
    #[must_use]
    pub const fn exec_candidates(&self, named: &RuleSet) -> RuleSet {
        named.xor(&self.exec_allow)
    }

    /// What is left of a decision over a file before there are arguments to be asked for: a rule that asks for them is left to
    /// those who see them, and with it those that come after.
    #[inline(always)]
    #[must_use]
    pub const fn refusal(&self, decision: Decision) -> Decision {
        if decision.enforces(verdict::DENY) && !self.exec_args.contains(decision.rule) {
            decision
        } else {
            Decision::NONE
        }
    }

    /// Of the candidates, those whose condition on arguments holds. `met` are the rules whose condition was seen to
    /// hold. When there are more arguments than were seen (`cut`), each condition may hold, and counts as if it did:
    /// padding must not be a way around a rule.
    #[inline(always)]
    #[must_use]
    pub const fn with_arguments(&self, candidates: &RuleSet, met: &RuleSet, cut: bool) -> RuleSet {
        if cut {
            return *candidates;
        }
        candidates.without(&self.exec_args.without(met))
    }

    /// The database rules that speak of an endpoint: `by_port` are those with its port, `by_address` those that list
    /// its address.
    #[inline(always)]
    #[must_use]
    pub const fn database_candidates(
        &self,
        direction: Direction,
        by_port: &RuleSet,
        by_address: &RuleSet,
    ) -> RuleSet {
        let asked = match direction {
            Direction::Client => &self.clients,
            Direction::Server => &self.servers,
            Direction::Source => &self.sources,
        };
        by_port.and(asked).and(&by_address.or(&self.any_address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[usize]) -> RuleSet {
        let mut set = RuleSet::EMPTY;
        rules.iter().for_each(|index| set.insert(*index));
        set
    }

    #[test]
    fn a_file_is_a_candidate_of_deny_lists_that_name_it_and_allow_lists_that_do_not() {
        let masks = Masks { exec_allow: set(&[1, 200]), ..Masks::NONE };
        assert_eq!(masks.exec_candidates(&set(&[0, 1])), set(&[0, 200]));
    }

    #[test]
    fn a_rule_that_asks_for_arguments_refuses_no_file() {
        let masks = Masks { exec_args: set(&[1]), ..Masks::NONE };
        let enforced = |rule, verdict| Decision { rule, verdict, mode: super::super::Mode::Enforce as u8 };
        assert_eq!(masks.refusal(enforced(0, verdict::DENY)), enforced(0, verdict::DENY));
        assert_eq!(masks.refusal(enforced(1, verdict::DENY)), Decision::NONE);
        assert_eq!(masks.refusal(enforced(0, verdict::KILL)), Decision::NONE);
        let observed = Decision { mode: super::super::Mode::Observe as u8, ..enforced(0, verdict::DENY) };
        assert_eq!(masks.refusal(observed), Decision::NONE);
    }

    #[test]
    fn conditions_on_arguments_select_and_a_cut_counts_as_met() {
        let masks = Masks { exec_args: set(&[1, 2]), ..Masks::NONE };
        let candidates = set(&[0, 1, 2]);
        assert_eq!(masks.with_arguments(&candidates, &set(&[2]), false), set(&[0, 2]));
        assert_eq!(masks.with_arguments(&candidates, &set(&[2]), true), candidates);
    }

    #[test]
    fn addresses_and_directions_select() {
        let masks =
            Masks { any_address: set(&[0]), clients: set(&[0, 1, 2]), servers: set(&[1]), ..Masks::NONE };
        let ports = set(&[0, 1, 2, 3]);
        assert_eq!(masks.database_candidates(Direction::Client, &ports, &set(&[2])), set(&[0, 2]));
        assert_eq!(masks.database_candidates(Direction::Server, &ports, &set(&[1])), set(&[1]));
        assert_eq!(masks.database_candidates(Direction::Source, &ports, &set(&[1])), RuleSet::EMPTY);
    }
}
