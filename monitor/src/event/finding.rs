//! What a rule decided about an event, and what people need to judge it.

use std::{
    fmt,
    hash::{BuildHasher, Hash as _, Hasher},
    net::SocketAddr,
    sync::Arc,
};

use jiff::Timestamp;
use monitor_common::{
    event::{Endpoint, Kind},
    policy::{Mode, RuleKind, verdict},
};

use super::{Detail, Event, Program, Text, source_name};

/// What a rule decided.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// Kind of the rule.
    pub rule_kind: RuleKind,
    /// What was done, or in observe mode would have been: a code from `monitor_common::policy::verdict`.
    pub verdict: u8,
    /// Whether it was done.
    pub mode: Mode,
    /// A sentence for people.
    pub why: String,
    /// What the policy says of the rule.
    pub tags: Arc<Tags>,
    /// Whether it was decided before the thing happened.
    pub phase: Phase,
    /// The policy that decided, by its number since the agent began.
    pub generation: u64,
    /// The processes that the subject descends from, its parent first.
    pub ancestry: Vec<Ancestor>,
    /// Set in a summary: the others like it that it stands for.
    pub repeats: Option<Repeats>,
}

/// What a policy says of a rule to those who read its findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// How bad it is; nothing of what no rule of the policy reports (bans by hand, packets that can't be read).
    pub severity: Option<&'static str>,
    /// The chapter of backend security that the rule belongs to.
    pub practice: Option<Arc<str>>,
    /// Techniques of MITRE ATT&CK, by id.
    pub attack: Vec<Arc<str>>,
}

/// Whether a rule decided before what it decided about had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It could be refused, and in enforce mode it was if the verdict says so.
    Before,
    /// It had happened.
    After,
}

impl Phase {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];

    /// `before` or `after`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }

    /// Of a verdict on an event.
    #[must_use]
    pub const fn of(kind: Kind, code: u8) -> Self {
        match kind {
            // A denial comes from the security hook; what is only reported, or killed, from the trace of the exec.
            Kind::Exec if code != verdict::DENY => Self::After,
            // Found by looking; and a listen tells of a bind that no rule had judged.
            Kind::Held | Kind::Listen | Kind::Fork | Kind::Exit => Self::After,
            _ => Self::Before,
        }
    }
}

/// A process that another descends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its process id.
    pub pid: u32,
    /// Its start time, nanoseconds since boot.
    pub start_ns: u64,
    /// What it runs.
    pub program: Arc<Program>,
}

/// Findings that one line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// How many.
    pub count: u64,
    /// When the first of them was.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
}

impl Finding {
    /// How many things that happened this one tells of.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.repeats.map_or(1, |repeats| repeats.count)
    }
}

impl Event {
    /// Who did it, in one word: the path of the program, or where a packet came from.
    #[must_use]
    pub fn subject(&self) -> Text {
        match (&self.detail, &self.actor) {
            (Detail::Limit { source, prefix, .. }, _) => Text::new(source_name(&source.addr, *prefix)),
            (Detail::Source { source }, _) => Text::new(source.addr.to_string()),
            (_, Some(who)) => who.program.path.clone(),
            (_, None) => Text::default(),
        }
    }

    /// What it was done to, in one word.
    #[must_use]
    pub fn object(&self) -> Text {
        let shown = |text: &dyn fmt::Display| Text::new(text.to_string());
        match &self.detail {
            Detail::Exec { program, .. } => program.path.clone(),
            Detail::Connect { remote: end, .. }
            | Detail::Held { remote: end, .. }
            | Detail::Bind { local: end }
            | Detail::Listen { local: end } => shown(&SocketAddr::new(end.addr.into(), end.port)),
            Detail::Unix { path, .. } => path.clone(),
            Detail::Limit { source, .. } | Detail::Source { source } => {
                shown(&format_args!("port {}", source.port))
            }
            Detail::Socket { family, protocol } => shown(&format_args!("socket {family}/{protocol}")),
            Detail::Memory { path, .. } if !path.is_empty() => path.clone(),
            Detail::Fork { child_pid: pid, .. } | Detail::Memory { pid, .. } => {
                shown(&format_args!("process {pid}"))
            }
            Detail::Exit { .. } => Text::default(),
        }
    }

    /// A number that is the same for findings that tell people the same thing: the same rule and verdict, by the same program
    /// as the same user in the same control group, on the same object. Nothing for what is no finding. Keyed, so that nobody
    /// can make two that differ look alike.
    #[must_use]
    pub fn likeness(&self, keyed: &impl BuildHasher) -> Option<u64> {
        let finding = self.finding.as_ref()?;
        let mut hash = keyed.build_hasher();
        (&*finding.rule, finding.rule_kind as u8, finding.verdict, finding.mode as u8).hash(&mut hash);
        (self.kind as u32, finding.generation).hash(&mut hash);
        if let Some(who) = &self.actor {
            (who.process.uid, who.process.cgroup, who.program.path.bytes()).hash(&mut hash);
        }
        match &self.detail {
            Detail::Exec { program, .. } => (program.path.bytes(), program.script.as_ref()).hash(&mut hash),
            Detail::Connect { remote: end, .. }
            | Detail::Held { remote: end, .. }
            | Detail::Bind { local: end }
            | Detail::Listen { local: end }
            | Detail::Source { source: end }
            | Detail::Limit { source: end, .. } => hash_end(end, &mut hash),
            Detail::Socket { family, protocol } => (family, protocol).hash(&mut hash),
            Detail::Unix { direction, path } => (*direction as u8, path.bytes()).hash(&mut hash),
            // The program rather than the process: who goes through all processes asks for many.
            Detail::Memory { path, .. } => path.bytes().hash(&mut hash),
            Detail::Fork { .. } | Detail::Exit { .. } => {}
        }
        Some(hash.finish())
    }
}

fn hash_end(end: &Endpoint, hash: &mut impl Hasher) {
    (end.addr.bytes, end.port, end.protocol).hash(hash);
}
