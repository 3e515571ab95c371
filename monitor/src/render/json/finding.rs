//! The fields of a finding: which rule, what it said, and what people need to judge it.

use std::borrow::Cow;

use jiff::Timestamp;
use monitor_common::policy::verdict;
use schemars::JsonSchema;
use serde::Serialize;

use super::{super::sentence, optional_timestamp};
use crate::event::{Ancestor, Event, Finding, Text};

/// In findings.
#[derive(Serialize, JsonSchema)]
pub(super) struct FindingPart<'a> {
    /// Name of the rule that decided.
    rule: Cow<'a, str>,
    /// Its table in the policy: `exec`, `database`, `rate_limit`, `raw_sockets`, `listen` or `process_memory`.
    rule_kind: &'static str,
    /// How bad it is, as the rule says.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    /// The chapter of backend security that the rule belongs to, as the rule says.
    #[serde(skip_serializing_if = "Option::is_none")]
    practice: Option<Cow<'a, str>>,
    /// Techniques of MITRE ATT&CK, by id, as the rule says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attack: Vec<Cow<'a, str>>,
    /// `alert` (reported only), `deny` (refused before it happened), `kill` (stopped after), `drop` (a packet); `unknown` is
    /// what kernel programs said that don't fit the agent.
    #[schemars(extend("enum" = ["alert", "deny", "kill", "drop", "unknown"]))]
    verdict: &'static str,
    /// `enforce`: the verdict was carried out; `observe`: it would have been.
    #[schemars(extend("enum" = ["observe", "enforce"]))]
    mode: &'static str,
    /// Whether the rule decided `before` the thing happened, so that it could be refused, or `after`.
    #[schemars(extend("enum" = ["before", "after"]))]
    phase: &'static str,
    /// Number of the policy that decided: 1 when the agent starts, one more with each new policy.
    generation: u64,
    /// A sentence for people.
    why: Cow<'a, str>,
    /// Who did it, in one word: path of the program, or where a packet came from. Empty if not known.
    #[schemars(with = "String")]
    subject: Text,
    /// What it was done to, in one word: path of a program or socket, `ADDRESS:PORT`, `port PORT`.
    #[schemars(with = "String")]
    object: Text,
    /// The processes that the subject descends from, its parent first, eight at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ancestry: Vec<AncestorPart<'a>>,
    /// How many findings this line tells of: 1, or in a summary of repeats any number.
    count: u64,
    /// Of a summary: when the first of them was. The line's own `time` is that of the last.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    first: Option<Timestamp>,
    /// Of a summary: when the last of them was.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    last: Option<Timestamp>,
}

/// A process that another descends from.
#[derive(Serialize, JsonSchema)]
pub(super) struct AncestorPart<'a> {
    /// Its process id.
    pid: u32,
    /// Its start time, nanoseconds since boot.
    start_ns: u64,
    /// Path of what it runs, in the host's tree; `null` if not known, or a thread of the kernel.
    #[schemars(with = "Option<String>")]
    exe: Option<&'a Text>,
    /// Its arguments.
    #[schemars(with = "Vec<String>")]
    args: &'a [Text],
}

impl<'a> FindingPart<'a> {
    pub fn new(finding: &'a Finding, event: &Event) -> Self {
        let tags = &*finding.tags;
        Self {
            rule: sentence(&finding.rule),
            rule_kind: finding.rule_kind.name(),
            severity: tags.severity,
            practice: tags.practice.as_deref().map(sentence),
            attack: tags.attack.iter().map(|id| sentence(id)).collect(),
            verdict: verdict::name(finding.verdict),
            mode: finding.mode.name(),
            phase: finding.phase.name(),
            generation: finding.generation,
            why: sentence(&finding.why),
            subject: event.subject(),
            object: event.object(),
            ancestry: finding.ancestry.iter().map(AncestorPart::new).collect(),
            count: finding.count(),
            first: finding.repeats.map(|repeats| repeats.first),
            last: finding.repeats.map(|repeats| repeats.last),
        }
    }
}

impl<'a> AncestorPart<'a> {
    fn new(ancestor: &'a Ancestor) -> Self {
        let Ancestor { pid, start_ns, program } = ancestor;
        let exe = Some(&program.path).filter(|path| !path.is_empty());
        Self { pid: *pid, start_ns: *start_ns, exe, args: &program.args }
    }
}
