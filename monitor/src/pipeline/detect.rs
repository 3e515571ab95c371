//! Which events people should read: those that a rule decided on. The kernel has decided; this only puts it in words.

use monitor_common::{
    event::{Header, Kind},
    policy::{Mode, NO_RULE, verdict},
};

use crate::{
    event::{Detail, Event, Finding},
    policy::Names,
};

/// The finding that an event is, if it is one.
#[must_use]
pub fn finding(header: &Header, event: &Event, names: &Names) -> Option<Finding> {
    if header.rule == NO_RULE || header.verdict <= verdict::ALLOW {
        return None;
    }
    let rule_kind = event.kind.rules()?;
    let rule = names.rule(rule_kind, header.rule)?.clone();
    let mode = Mode::from_code(header.mode);
    let why = format!("{}; {}", what(event, names), consequence(event.kind, header.verdict, mode));
    Some(Finding { rule, rule_kind, verdict: header.verdict, mode, why })
}

/// What happened, against the rule.
fn what(event: &Event, names: &Names) -> String {
    let subject = event.actor.as_ref().map_or_else(String::new, |who| {
        let workloads: Vec<&str> = names.of(&who.process.workloads).collect();
        match &workloads[..] {
            [] => "a process of no workload".to_owned(),
            some => format!("workload {}", some.join(", ")),
        }
    });
    match &event.detail {
        Detail::Exec { program, .. } => {
            let notes = [
                ("memfd", " (a file in memory only)"),
                ("deleted", " (a file without a name)"),
                ("unplaced", " (on a mount that the host's tree doesn't have)"),
                ("path_truncated", " (a path too long to be compared with the rule's globs)"),
            ];
            let told = notes.iter().filter(|(note, _)| program.notes.contains(note)).map(|(_, words)| *words);
            format!("{subject} started {}{}", program.path.quoted(), told.collect::<String>())
        }
        Detail::Connect { remote, .. } => {
            format!(
                "{subject}, not a client of this database, asked for {} port {}",
                remote.addr, remote.port
            )
        }
        Detail::Limit { source, over } => {
            format!(
                "{} is over its rate at port {} (packets over it so far: {over})",
                source.addr, source.port
            )
        }
        Detail::Fork { .. } | Detail::Exit { .. } | Detail::Bind { .. } | Detail::Listen { .. } => subject,
    }
}

/// What was done about it.
fn consequence(kind: Kind, code: u8, mode: Mode) -> &'static str {
    match (code, mode) {
        (verdict::DENY, Mode::Enforce) if kind == Kind::Exec => "refused before it ran",
        (verdict::DENY, Mode::Enforce) => "refused",
        (verdict::KILL, Mode::Enforce) => "killed before its first instruction",
        (verdict::DROP, Mode::Enforce) => "dropped",
        (verdict::DENY, Mode::Observe) => "would have been refused",
        (verdict::KILL, Mode::Observe) => "would have been killed",
        (verdict::DROP, Mode::Observe) => "would have been dropped",
        _ => "reported only",
    }
}
