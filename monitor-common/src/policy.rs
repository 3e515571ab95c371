//! The evaluator: which rule decides, and what. Used by the kernel programs and by the agent's commands.
//!
//! A request is a subject (the workloads its process belongs to) and a set of candidates: the rules whose object
//! (file, port) matches. Rules are tried in file order; the first that applies to the subject decides.

use crate::limits;

pub mod ports;

wire! {
    /// A set of workloads: bit `n` is the `n`th `[[workload]]` of the policy.
    pub struct WorkloadSet {
        /// The bits, lowest first.
        pub bits: [u64; limits::WORKLOADS / 64],
    }

    /// A set of rules of one kind: bit `n` is the `n`th rule in file order.
    pub struct RuleSet {
        /// The bits, lowest first.
        pub bits: [u64; limits::RULES / 64],
    }

    /// What an object of policy (a file, a glob's end state, a class of files) stands for.
    pub struct Membership {
        /// Workloads that a process running it belongs to.
        pub workloads: WorkloadSet,
        /// Exec rules that name it.
        pub exec_rules: RuleSet,
    }

    /// A rule, ready for evaluation.
    pub struct Rule {
        /// The workloads it speaks of.
        pub subjects: WorkloadSet,
        /// [`Action`] code for a subject that is in one of them.
        pub on_member: u8,
        /// [`Action`] code for any other subject.
        pub on_other: u8,
        /// [`Mode`] code.
        pub mode: u8,
        /// Zero.
        pub zero: [u8; 5],
    }
}

/// What a rule says about one side of its `subjects`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Doesn't apply: ask the next rule.
    Next = 0,
    /// Let it pass and look no further.
    Allow = 1,
    /// Let it pass, and report it.
    Alert = 2,
    /// Refuse it before it happens.
    Deny = 3,
    /// Stop the process after.
    Kill = 4,
}

/// Codes of verdicts, as they cross in records and index counters.
pub mod verdict {
    /// No rule decided.
    pub const NONE: u8 = 0;
    /// A rule let it pass.
    pub const ALLOW: u8 = 1;
    /// A rule reports it.
    pub const ALERT: u8 = 2;
    /// Refused before it happened.
    pub const DENY: u8 = 3;
    /// The process was killed after it happened.
    pub const KILL: u8 = 4;
    /// The packet was dropped.
    pub const DROP: u8 = 5;
    /// How many codes there are.
    pub const COUNT: u32 = 6;

    /// The word for a code in policy, metrics and findings.
    #[must_use]
    pub const fn name(code: u8) -> &'static str {
        match code {
            NONE => "none",
            ALLOW => "allow",
            ALERT => "alert",
            DENY => "deny",
            KILL => "kill",
            DROP => "drop",
            _ => "unknown",
        }
    }
}

/// Whether a rule acts or only reports what it would do.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The verdict is computed and counted, and not carried out.
    Observe = 0,
    /// The verdict is carried out.
    Enforce = 1,
}

impl Mode {
    /// Both, in the order of their codes.
    pub const ALL: [Self; 2] = [Self::Observe, Self::Enforce];

    /// The mode's code in rules and records; unknown codes are `Observe`, which harms nobody.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        if code == Self::Enforce as u8 { Self::Enforce } else { Self::Observe }
    }

    /// The word for it in policy, metrics and findings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// The kinds of rules; the discriminant indexes counters.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// `[[exec]]`
    Exec = 0,
    /// `[[database]]`
    Database = 1,
    /// `[[rate_limit]]`
    RateLimit = 2,
}

impl RuleKind {
    /// All, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Exec, Self::Database, Self::RateLimit];

    /// The name of its table in the policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Database => "database",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// [`Decision::rule`] where no rule decided.
pub const NO_RULE: u16 = u16::MAX;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Index of the rule that decided, or [`NO_RULE`].
    pub rule: u16,
    /// Code from [`verdict`].
    pub verdict: u8,
    /// [`Mode`] code.
    pub mode: u8,
}

impl Decision {
    /// No rule applies; it passes.
    pub const NONE: Self = Self { rule: NO_RULE, verdict: verdict::NONE, mode: 0 };

    /// Whether this is to be carried out as `verdict`.
    #[inline(always)]
    #[must_use]
    pub const fn enforces(&self, verdict: u8) -> bool {
        self.verdict == verdict && self.mode == Mode::Enforce as u8
    }

    /// Whether people want to read about it: a rule said more than "allow".
    #[inline(always)]
    #[must_use]
    pub const fn is_finding(&self) -> bool {
        self.verdict > verdict::ALLOW
    }
}

/// Where the evaluator finds the rules of one kind.
pub trait Rules {
    /// The rule with this index, if there is one.
    fn rule(&self, index: u32) -> Option<Rule>;
}

impl Rules for &[Rule] {
    fn rule(&self, index: u32) -> Option<Rule> {
        self.get(index as usize).copied()
    }
}

/// Decides: of `candidates`, the first rule in file order that applies to `subject`.
///
/// Costs one rule look-up per candidate that doesn't apply, plus one.
#[inline(always)]
#[must_use]
pub fn decide(rules: &impl Rules, candidates: &RuleSet, subject: &WorkloadSet) -> Decision {
    let mut word = 0;
    while word < limits::RULES / 64 {
        let mut bits = candidates.bits[word];
        // A bounded count rather than `while bits != 0`: older verifiers must see the end.
        let mut tried = 0;
        while tried < 64 {
            if bits == 0 {
                break;
            }
            let index = word as u32 * 64 + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
            tried += 1;
            let Some(rule) = rules.rule(index) else { continue };
            let action = if rule.subjects.meets(subject) { rule.on_member } else { rule.on_other };
            if action != Action::Next as u8 {
                // Action codes above `Next` are verdict codes.
                return Decision { rule: index as u16, verdict: action, mode: rule.mode };
            }
        }
        word += 1;
    }
    Decision::NONE
}

impl WorkloadSet {
    /// No workload.
    pub const EMPTY: Self = Self { bits: [0; limits::WORKLOADS / 64] };

    /// Adds a workload; indices past the limit are ignored.
    pub const fn insert(&mut self, index: usize) {
        if index < limits::WORKLOADS {
            self.bits[index / 64] |= 1 << (index % 64);
        }
    }

    /// Whether the sets have a workload in common.
    #[inline(always)]
    #[must_use]
    pub const fn meets(&self, other: &Self) -> bool {
        (self.bits[0] & other.bits[0]) | (self.bits[1] & other.bits[1]) != 0
    }

    /// Adds all of another set.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.bits[0] |= other.bits[0];
        self.bits[1] |= other.bits[1];
    }

    /// The first workload of the set in file order, or the number of workloads there can be.
    #[inline(always)]
    #[must_use]
    pub const fn first(&self) -> u32 {
        if self.bits[0] != 0 {
            self.bits[0].trailing_zeros()
        } else if self.bits[1] != 0 {
            64 + self.bits[1].trailing_zeros()
        } else {
            limits::WORKLOADS as u32
        }
    }
}

impl RuleSet {
    /// No rule.
    pub const EMPTY: Self = Self { bits: [0; limits::RULES / 64] };

    /// Adds a rule; indices past the limit are ignored.
    pub const fn insert(&mut self, index: usize) {
        if index < limits::RULES {
            self.bits[index / 64] |= 1 << (index % 64);
        }
    }

    /// Adds all of another set.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.bits[0] |= other.bits[0];
        self.bits[1] |= other.bits[1];
        self.bits[2] |= other.bits[2];
        self.bits[3] |= other.bits[3];
    }

    /// Takes out the first rule in file order.
    #[inline(always)]
    pub fn take_first(&mut self) -> Option<u32> {
        let mut word = 0;
        while word < limits::RULES / 64 {
            let bits = self.bits[word];
            if bits != 0 {
                self.bits[word] = bits & bits.wrapping_sub(1);
                return Some(word as u32 * 64 + bits.trailing_zeros());
            }
            word += 1;
        }
        None
    }

    /// Whether the set is empty.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bits[0] | self.bits[1] | self.bits[2] | self.bits[3] == 0
    }
}

impl Membership {
    /// Of no consequence.
    pub const NONE: Self = Self { workloads: WorkloadSet::EMPTY, exec_rules: RuleSet::EMPTY };

    /// Adds all of another.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.workloads.add(&other.workloads);
        self.exec_rules.add(&other.exec_rules);
    }
}

impl Rule {
    /// A rule about `subjects`.
    #[must_use]
    pub const fn new(subjects: WorkloadSet, on_member: Action, on_other: Action, mode: Mode) -> Self {
        Self {
            subjects,
            on_member: on_member as u8,
            on_other: on_other as u8,
            mode: mode as u8,
            zero: [0; 5],
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn set(bits: &[usize]) -> WorkloadSet {
        let mut set = WorkloadSet::EMPTY;
        bits.iter().for_each(|bit| set.insert(*bit));
        set
    }

    fn candidates(bits: &[usize]) -> RuleSet {
        let mut set = RuleSet::EMPTY;
        bits.iter().for_each(|bit| set.insert(*bit));
        set
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let rules = [
            Rule::new(set(&[0]), Action::Kill, Action::Next, Mode::Enforce),
            Rule::new(set(&[1]), Action::Allow, Action::Deny, Mode::Observe),
        ];
        let rules = &rules[..];
        let both = candidates(&[0, 1]);
        assert_eq!(
            decide(&rules, &both, &set(&[0, 1])),
            Decision { rule: 0, verdict: verdict::KILL, mode: 1 }
        );
        assert_eq!(decide(&rules, &both, &set(&[1])), Decision { rule: 1, verdict: verdict::ALLOW, mode: 0 });
        assert_eq!(decide(&rules, &both, &set(&[])), Decision { rule: 1, verdict: verdict::DENY, mode: 0 });
        assert_eq!(decide(&rules, &candidates(&[0]), &set(&[1])), Decision::NONE);
        assert_eq!(decide(&rules, &RuleSet::EMPTY, &set(&[0])), Decision::NONE);
    }

    proptest! {
        /// Against the obvious way to say it: a filter over a list.
        #[test]
        fn decides_as_a_plain_search_does(
            rows in prop::collection::vec((any::<[u64; 2]>(), 0u8..5, 0u8..5, 0u8..2), 0..256),
            bits in any::<[u64; 4]>(),
            subject in any::<[u64; 2]>(),
        ) {
            let rules: Vec<Rule> = rows.iter().map(|(subjects, on_member, on_other, mode)| Rule {
                subjects: WorkloadSet { bits: *subjects },
                on_member: *on_member, on_other: *on_other, mode: *mode, zero: [0; 5],
            }).collect();
            let expected = rules.iter().enumerate()
                .filter(|(index, _)| bits[index / 64] >> (index % 64) & 1 == 1)
                .map(|(index, rule)| {
                    let member = (0..128).any(|bit: usize| {
                        (rule.subjects.bits[bit / 64] & subject[bit / 64]) >> (bit % 64) & 1 == 1
                    });
                    (index, if member { rule.on_member } else { rule.on_other }, rule.mode)
                })
                .find(|(_, action, _)| *action != 0)
                .map_or(Decision::NONE, |(rule, verdict, mode)| Decision { rule: rule as u16, verdict, mode });
            prop_assert_eq!(decide(&&rules[..], &RuleSet { bits }, &WorkloadSet { bits: subject }), expected);
        }
    }
}
