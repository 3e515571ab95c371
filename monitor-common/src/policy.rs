//! The evaluator: which rule decides, and what. Used by the kernel programs and by the agent's commands.
//!
//! A request is a subject (the workloads its process belongs to) and a set of candidates: the rules whose object
//! (file, port, address) matches. Rules are tried in file order; the first that applies to the subject decides.
//! [`Masks`] turns what tables say of an object into candidates; [`decide`] does the rest.

use crate::limits;

pub mod masks;
pub mod ports;
mod sets;

pub use masks::Masks;
pub use sets::{Membership, RuleSet, WorkloadSet};

wire! {
    /// A rule, ready for evaluation.
    pub struct Rule {
        /// The workloads it speaks of.
        pub subjects: WorkloadSet,
        /// If not empty, the rule applies only to a subject that is in one of these as well.
        pub also: WorkloadSet,
        /// [`Action`] code for a subject that is in one of them.
        pub on_member: u8,
        /// [`Action`] code for any other subject.
        pub on_other: u8,
        /// [`Mode`] code, or that and [`Mode::OTHER_WHEN_STALE`].
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
    /// Drop the packet.
    Drop = 5,
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

    /// Beside the code of a rule's mode: while the agent is gone, the other mode holds.
    pub const OTHER_WHEN_STALE: u8 = 2;

    /// The code of the mode that holds now, by what a rule has. Whether the agent is gone is asked only if that matters.
    #[inline(always)]
    #[must_use]
    pub fn now(of_rule: u8, is_stale: impl FnOnce() -> bool) -> u8 {
        let mode = of_rule & 1;
        if of_rule & Self::OTHER_WHEN_STALE == 0 { mode } else { mode ^ u8::from(is_stale()) }
    }

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
    /// `[raw_sockets]`, of which there is one.
    RawSockets = 3,
    /// `[[listen]]`. The kernel programs know these as [`RuleKind::Database`] rules that come after the others.
    Listen = 4,
    /// `[process_memory]`, of which there is one.
    ProcessMemory = 5,
}

impl RuleKind {
    /// All, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Exec, Self::Database, Self::RateLimit, Self::RawSockets, Self::Listen, Self::ProcessMemory];

    /// Whether the policy has at most one of it, which has no other name than its table.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        matches!(self, Self::RawSockets | Self::ProcessMemory)
    }

    /// The name of its table in the policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Database => "database",
            Self::RateLimit => "rate_limit",
            Self::RawSockets => "raw_sockets",
            Self::Listen => "listen",
            Self::ProcessMemory => "process_memory",
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

/// Who asks, as rules look at it.
pub trait Subject {
    /// Whether the rule with this index speaks of it; none if the rule doesn't apply at all.
    fn is_member(&self, index: u32, rule: &Rule) -> Option<bool>;
}

impl Subject for WorkloadSet {
    #[inline(always)]
    fn is_member(&self, _: u32, rule: &Rule) -> Option<bool> {
        if !rule.also.is_empty() && !rule.also.meets(self) {
            return None;
        }
        Some(rule.subjects.meets(self))
    }
}

/// A sender of packets is a subject, too: the set holds the rules that list its address.
impl Subject for RuleSet {
    #[inline(always)]
    fn is_member(&self, index: u32, _: &Rule) -> Option<bool> {
        Some(self.contains(index as u16))
    }
}

/// Decides: of `candidates`, the first rule in file order that applies to `subject`, while an agent lives.
#[inline(always)]
#[must_use]
pub fn decide(rules: &impl Rules, candidates: &RuleSet, subject: &impl Subject) -> Decision {
    decide_now(rules, candidates, subject, || false)
}

/// The same, whether or not an agent lives: `is_stale` is asked only for a rule to which it matters.
///
/// Costs one rule look-up per candidate that doesn't apply, plus one.
#[inline(always)]
#[must_use]
pub fn decide_now(
    rules: &impl Rules,
    candidates: &RuleSet,
    subject: &impl Subject,
    is_stale: impl FnOnce() -> bool,
) -> Decision {
    let decision = find(rules, candidates, subject);
    Decision { mode: Mode::now(decision.mode, is_stale), ..decision }
}

/// The decision with the mode as the rule has it.
#[inline(always)]
fn find(rules: &impl Rules, candidates: &RuleSet, subject: &impl Subject) -> Decision {
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
            let Some(is_member) = subject.is_member(index, &rule) else { continue };
            let action = if is_member { rule.on_member } else { rule.on_other };
            if action != Action::Next as u8 {
                // Action codes above `Next` are verdict codes.
                return Decision { rule: index as u16, verdict: action, mode: rule.mode };
            }
        }
        word += 1;
    }
    Decision::NONE
}

impl Rule {
    /// The same; with the other mode while the agent is gone, if `other`.
    #[must_use]
    pub const fn other_when_stale(self, other: bool) -> Self {
        let flag = if other { Mode::OTHER_WHEN_STALE } else { 0 };
        Self { mode: self.mode | flag, ..self }
    }

    /// A rule about `subjects`.
    #[must_use]
    pub const fn new(subjects: WorkloadSet, on_member: Action, on_other: Action, mode: Mode) -> Self {
        Self {
            subjects,
            also: WorkloadSet::EMPTY,
            on_member: on_member as u8,
            on_other: on_other as u8,
            mode: mode as u8,
            zero: [0; 5],
        }
    }
}

#[cfg(test)]
mod tests;
