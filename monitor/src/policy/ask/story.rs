//! The answer as people read it: who the process is, and what each rule says.

use monitor_common::policy::{Action, Decision, Mode, NO_RULE, RuleKind, verdict};
use serde::Serialize;

use super::{Asked, Asker, Reply, Request, reasons::Reason, weigh::Weighed};

/// An answer with its reasons.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The verdict's word: `allow`, `alert`, `deny`, `kill`, `drop`, or `none` if no rule decided.
    pub verdict: &'static str,
    /// Whether it is carried out: `observe` or `enforce`. None without a rule.
    pub mode: Option<&'static str>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Of a script, what comes of it without BPF LSM, where only its interpreter is seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_lsm: Option<Brief>,
    /// The table of the policy that it stands in.
    pub rule_kind: &'static str,
    /// What that means, in a sentence.
    pub sentence: String,
    /// Whether the policy is for the process's cgroup.
    pub in_scope: bool,
    /// Each workload of the policy, for requests of processes.
    pub workloads: Vec<Belongs>,
    /// The rules in file order, up to the one that decided.
    pub rules: Vec<Step>,
    /// How many rules after that were not asked.
    pub rules_left: usize,
}

/// A decision in three words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Brief {
    /// As in [`Story`].
    pub verdict: &'static str,
    /// As in [`Story`].
    pub mode: Option<&'static str>,
    /// As in [`Story`].
    pub rule: Option<String>,
}

/// Whether the process belongs to a workload.
#[derive(Clone, Debug, Serialize)]
pub struct Belongs {
    /// The workload's name.
    pub workload: String,
    /// Whether it does.
    pub member: bool,
    /// Whether it does as the descendant of a member, whatever else fails.
    pub as_descendant: bool,
    /// The dimensions that fail.
    pub fails: Vec<Reason>,
}

/// What a rule had to say.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The rule's name.
    pub rule: String,
    /// Whether it decided.
    pub decides: bool,
    /// Why it doesn't apply; none for the rule that decided.
    pub why_not: Option<Reason>,
}

impl Asker<'_> {
    /// Decides, and tells why. When the kernel decided, `reply` is its answer.
    ///
    /// The reasons are derived from the policy's text, beside the evaluator: a test, and builds with debug assertions, see
    /// that both agree.
    #[must_use]
    pub fn explain(&mut self, asked: &Asked, reply: Option<Reply>) -> Story {
        let weighed = self.weigh(asked);
        let (id, level) = self.scope();
        let in_scope = asked.question.is_in_scope(id, level);
        let decision = reply.map_or(weighed.decision, |reply| reply.decision);
        let without_lsm = reply.map_or(weighed.without_lsm, |reply| reply.without_lsm);
        let names = self.rule_names(asked);
        let mut rules = Vec::new();
        for (index, name) in names.iter().enumerate().filter(|_| in_scope && !asked.is_never_judged()) {
            let why_not = self.why_not(index, asked, &weighed);
            let decides = why_not.is_none();
            rules.push(Step { rule: name.clone(), decides, why_not });
            if decides {
                break;
            }
        }
        debug_assert_eq!(
            rules.iter().position(|step| step.decides),
            (weighed.decision.rule != NO_RULE).then_some(usize::from(weighed.decision.rule)),
            "the reasons and the evaluator disagree on {:?}",
            asked.request
        );
        let Brief { verdict, mode, rule } = self.brief(asked, &decision);
        let without_lsm = without_lsm.map(|decision| self.brief(asked, &decision));
        let rules_left = names.len() - rules.len();
        let mut sentence = self.sentence(asked, &weighed, &decision, rule.as_deref(), in_scope);
        if let Some(other) = &without_lsm {
            sentence.push_str(&blind(other));
        }
        Story {
            verdict,
            mode,
            sentence,
            rule,
            without_lsm,
            rule_kind: self.kind_of(asked, decision.rule).name(),
            in_scope,
            workloads: match asked.request.who() {
                Some(_) => self.belongs(asked, &weighed),
                None => Vec::new(),
            },
            rules,
            rules_left,
        }
    }

    /// A decision, by its names.
    #[must_use]
    pub fn brief(&self, asked: &Asked, decision: &Decision) -> Brief {
        let rule = self.rule_names(asked).into_iter().nth(usize::from(decision.rule));
        Brief {
            verdict: verdict::name(decision.verdict),
            mode: rule.as_ref().map(|_| Mode::from_code(decision.mode).name()),
            rule,
        }
    }

    fn belongs(&self, asked: &Asked, weighed: &Weighed) -> Vec<Belongs> {
        let row = |(index, workload): (usize, &crate::config::Workload)| {
            let fails = self.fails(index, asked, weighed);
            let member = weighed.process.workloads.contains(index);
            let kept = weighed.process.kept.contains(index);
            debug_assert_eq!(member, fails.is_empty() || kept, "{}: {fails:?}", workload.name);
            let as_descendant = member && !fails.is_empty();
            Belongs { workload: workload.name.clone(), member, as_descendant, fails }
        };
        self.config.workloads.iter().enumerate().map(row).collect()
    }

    /// The kind of the rule with this number.
    fn kind_of(&self, asked: &Asked, rule: u16) -> RuleKind {
        match asked.request {
            Request::Bind(_)
                if rule != NO_RULE && usize::from(rule) >= self.names.rules(RuleKind::Database).len() =>
            {
                RuleKind::Listen
            }
            _ => asked.rule_kind(),
        }
    }

    fn rule_names(&self, asked: &Asked) -> Vec<String> {
        let rules = self.names.rules(asked.rule_kind());
        // Numbered after the databases, and tried after them.
        let listens = match asked.request {
            Request::Bind(_) => self.names.rules(RuleKind::Listen),
            _ => &[],
        };
        rules.iter().chain(listens).map(|(name, _)| name.to_string()).collect()
    }

    fn sentence(
        &self,
        asked: &Asked,
        weighed: &Weighed,
        decision: &Decision,
        rule: Option<&str>,
        in_scope: bool,
    ) -> String {
        if asked.is_never_judged() {
            return "it can only have come over the loopback device, whose packets are never judged (who may connect on this host \
                    is what `clients` says): it passes"
                .to_owned();
        }
        let Some(rule) = rule else {
            return match in_scope {
                true => "no rule speaks of it: it passes".to_owned(),
                false => format!(
                    "the policy is limited to the cgroup {}, and the process is not in there: it passes",
                    self.config.agent.cgroup.value
                ),
            };
        };
        let rule = match asked.rule_kind() {
            kind if kind.is_alone() => format!("[{}]", kind.name()),
            _ => format!("rule {}", crate::event::Text::from(rule).quoted()),
        };
        let because = self.because(decision.rule, asked, weighed);
        let because = because.map(|why| format!(", because {why}")).unwrap_or_default();
        if decision.verdict == Action::Allow as u8 {
            return format!("{rule} allows it{because}");
        }
        if decision.verdict == Action::Alert as u8 {
            return format!("{rule} lets it pass and reports it{because}");
        }
        let done = outcome(&asked.request, decision.verdict);
        match Mode::from_code(decision.mode) {
            Mode::Enforce => format!("{rule} stops it{because}: {done}"),
            Mode::Observe => {
                format!("{rule} would stop it{because}, but only observes: it passes and is reported")
            }
        }
    }
}

/// What becomes of what a rule stops.
fn outcome(request: &Request, verdict: u8) -> &'static str {
    match request {
        Request::Exec(_) if verdict == Action::Kill as u8 => {
            "the process is killed before its first instruction"
        }
        Request::Exec(_) => {
            "it is refused with EPERM, or killed before its first instruction where the kernel has no BPF LSM"
        }
        Request::Source(_) => {
            "the packet is dropped; one of this host itself comes over the loopback device, which is never judged, and passes"
        }
        Request::Unix(_) => "it is refused with EPERM where the kernel has BPF LSM, and passes elsewhere",
        Request::Connect(_) | Request::Bind(_) | Request::Raw(_) => "it is refused with EPERM",
    }
}

/// What comes of a script where only its interpreter is seen.
fn blind(other: &Brief) -> String {
    let what = match (&other.rule, other.verdict, other.mode) {
        (None, ..) => "no rule speaks of it, and it passes".to_owned(),
        (Some(rule), "deny" | "kill", Some("enforce")) => {
            format!("rule {} stops it", crate::event::Text::from(&rule[..]).quoted())
        }
        (Some(rule), verdict, _) => {
            format!("rule {} says {verdict}, and it passes", crate::event::Text::from(&rule[..]).quoted())
        }
    };
    format!(". Without BPF LSM only the interpreter is seen: {what}")
}

impl Asked {
    /// The kind of rules that the request is about.
    #[must_use]
    pub fn rule_kind(&self) -> RuleKind {
        match &self.request {
            Request::Exec(_) => RuleKind::Exec,
            Request::Raw(_) => RuleKind::RawSockets,
            Request::Connect(_) | Request::Bind(_) | Request::Source(_) | Request::Unix(_) => {
                RuleKind::Database
            }
        }
    }
}
