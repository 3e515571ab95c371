//! Which events people should read: those that a rule decided on. The kernel has decided; this only puts it in words.

use std::fmt::Write as _;

use monitor_common::{
    event::{Header, Kind},
    policy::{Mode, NO_RULE, RuleKind, masks::Direction, verdict},
};

use crate::{
    event::{Detail, Event, Finding, Phase, Who, source_name},
    policy::Names,
};

/// `AF_PACKET` of `include/linux/socket.h`.
const AF_PACKET: u16 = 17;

/// The finding that an event is, if it is one; without its ancestry, which is the enricher's to know.
#[must_use]
pub fn finding(header: &Header, event: &Event, names: &Names) -> Option<Finding> {
    if header.rule == NO_RULE || header.verdict <= verdict::ALLOW {
        return None;
    }
    let (rule_kind, index) = names.meant(event.kind.rules()?, header.rule);
    let rule = names.rule(rule_kind, index)?.clone();
    let mode = Mode::from_code(header.mode);
    let why = format!("{}; {}", what(event, rule_kind), consequence(event, header.verdict, mode));
    Some(Finding {
        rule,
        rule_kind,
        verdict: header.verdict,
        mode,
        why,
        tags: names.tags(rule_kind, index),
        phase: Phase::of(event.kind, header.verdict),
        generation: names.generation,
        ancestry: Vec::new(),
        repeats: None,
    })
}

/// What happened, against the rule.
fn what(event: &Event, rule_kind: RuleKind) -> String {
    let subject = event.actor.as_ref().map_or_else(String::new, subject);
    let no_server =
        if rule_kind == RuleKind::Listen { "not on the list" } else { "not a server of this database" };
    match &event.detail {
        Detail::Exec { program, mapped, .. } => {
            let notes = [
                ("memfd", " (a file in memory only)"),
                ("deleted", " (a file without a name)"),
                ("unplaced", " (on a mount that the host's tree doesn't have)"),
                ("path_truncated", " (a path too long to be compared with the rule's globs)"),
                ("loader", " (the dynamic loader: the program is what it maps)"),
                ("kernel_helper", " (for the kernel itself, which rules don't stop)"),
                ("unverified", " (whose content isn't the one that the policy gives)"),
                ("args_truncated", " (with more arguments than are read: a condition on them counts as met)"),
            ];
            let told = notes.iter().filter(|(note, _)| program.notes.contains(note)).map(|(_, words)| *words);
            let did = if *mapped { "had the dynamic loader run" } else { "started" };
            format!("{subject} {did} {}{}", program.path.quoted(), told.collect::<String>())
        }
        Detail::Connect { remote, .. } => {
            format!(
                "{subject}, not a client of this database, asked for {} port {}",
                remote.addr, remote.port
            )
        }
        Detail::Limit { source, prefix, cause, over, penalty_ns } => {
            let mut why =
                format!("{} is over its rate at port {}", source_name(&source.addr, *prefix), source.port);
            if let Some(cause) = cause {
                let _ = write!(why, ": {}", cause.sentence());
            }
            let _ = write!(why, " (packets over it since it was last within: {over})");
            if let Some(ns) = penalty_ns {
                let _ = write!(why, "; dropped for the next {} s", ns / 1_000_000_000);
            }
            why
        }
        Detail::Bind { local } => {
            format!("{subject}, {no_server}, asked for {} port {} of this host", local.addr, local.port)
        }
        Detail::Listen { local } => format!(
            "{subject}, {no_server}, listens at {} port {} without having been judged at its bind",
            local.addr, local.port
        ),
        Detail::Socket { family, .. } => {
            let what = if *family == AF_PACKET { "a packet socket" } else { "a raw socket" };
            format!("{subject}, not on the list, asked for {what}")
        }
        Detail::Memory { pid, path, .. } => {
            let whose = if path.is_empty() { String::new() } else { format!(", {}", path.quoted()) };
            format!("{subject}, not on the list, asked for the memory of process {pid}{whose}")
        }
        Detail::Unix { direction: Direction::Client, path } => {
            format!("{subject}, not a client of this database, asked for the socket {}", path.quoted())
        }
        Detail::Unix { path, .. } => {
            format!("{subject}, not a server of this database, wanted to be the socket {}", path.quoted())
        }
        Detail::Source { source } => {
            format!("{}, not a source of this database, sent to port {}", source.addr, source.port)
        }
        Detail::Held { remote, opener, .. } => {
            let origin = match opener {
                None => "that is older than the policy".to_owned(),
                Some(opener) => {
                    let of = opener
                        .workload
                        .as_deref()
                        .map_or_else(|| "no workload".to_owned(), |name| format!("workload {name}"));
                    format!("that process {} of {of} opened and handed over", opener.pid)
                }
            };
            format!(
                "{subject}, not a client of this database, has a connection to {} port {} {origin}",
                remote.addr, remote.port
            )
        }
        Detail::Fork { .. } | Detail::Exit { .. } => subject,
    }
}

fn subject(who: &Who) -> String {
    match &who.workloads[..] {
        [] => "a process of no workload".to_owned(),
        some => format!("workload {}", some.join(", ")),
    }
}

/// What was done about it.
fn consequence(event: &Event, code: u8, mode: Mode) -> &'static str {
    // Whether a connection was closed isn't known from the verdict: the kernel may have refused to.
    if let Detail::Held { closed, .. } = event.detail {
        return match (closed, code, mode) {
            (true, ..) => "closed",
            (false, verdict::DENY, Mode::Observe) => "would have been closed",
            _ => "reported only",
        };
    }
    match (code, mode) {
        (verdict::DENY, Mode::Enforce) if event.kind == Kind::Exec => "refused before it ran",
        (verdict::DENY, Mode::Enforce) => "refused",
        (verdict::KILL, Mode::Enforce) => "killed before its first instruction",
        (verdict::DROP, Mode::Enforce) => "dropped",
        (verdict::DENY, Mode::Observe) => "would have been refused",
        (verdict::KILL, Mode::Observe) => "would have been killed",
        (verdict::DROP, Mode::Observe) => "would have been dropped",
        _ => "reported only",
    }
}

#[cfg(test)]
mod tests;
