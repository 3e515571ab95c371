//! Makes the picture.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use monitor_common::{
    count::{Family, Outcome},
    event::Kind,
    policy::{RuleKind, verdict},
};

use super::{
    Book, Canary, Capability, Database, Interface, Limit, Losses, Overview, Policy, Reason, Rule, Sink,
    Usage, health, sources,
};
use crate::{
    agent::bans::BansInForce,
    http::Health,
    metrics::{BanKind, Loss, Metrics, Snapshot, Uncovered, View},
    recent::Recent,
};

/// Findings that are looked through for sources.
const FINDINGS: usize = crate::recent::FINDINGS;

/// Where it comes from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the event loop is at work.
    pub health: Arc<Health>,
    /// The last events and findings.
    pub recent: Arc<Recent>,
    /// Bans, once there are any; never while no packet is looked at.
    pub bans: Arc<OnceLock<BansInForce>>,
    /// When something was last lost.
    pub losses: Arc<Losses>,
}

/// How the agent is now. Reads the kernel's counters, so it may take some milliseconds.
#[must_use]
pub fn picture(parts: &Parts) -> Overview {
    let view = parts.metrics.view();
    let bans = parts.bans.get().and_then(BansInForce::get);
    let uname = rustix::system::uname();
    let mut overview = Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        now: jiff::Timestamp::now().as_duration().as_secs_f64(),
        sources: sources::sources(&parts.recent.findings.last(FINDINGS), bans.as_deref()),
        ..Overview::default()
    };
    facts(&view, &mut overview);
    agents_own(&view, &mut overview);
    if let Some(kernel) = &view.kernel {
        overview.books = books(&view, kernel);
        overview.rules = rules(kernel);
        overview.limits = limits(&view, kernel);
        overview.databases = databases(kernel);
    }
    let events: u64 = overview.books.iter().map(|book| book.lost).sum();
    let sinks: u64 = overview.sinks.iter().flat_map(|sink| &sink.lost).map(|lost| lost.count).sum();
    let dead = parts.health.alive().and_then(|()| parts.health.ready()).err();
    health::judge(&mut overview, dead, parts.losses.note(events + sinks));
    overview
}

fn facts(view: &View, overview: &mut Overview) {
    let facts = &view.facts;
    overview.policy = facts.policy.as_ref().map(|policy| Policy {
        sha256: policy.sha256.clone(),
        generation: policy.generation,
        mode: policy.mode.to_owned(),
    });
    let capability = |capability: &crate::metrics::Capability| Capability {
        feature: capability.feature.to_owned(),
        state: capability.state.to_owned(),
        reason: capability.reason.to_owned(),
    };
    overview.capabilities = facts.capabilities.iter().map(capability).collect();
    let interface = |attachment: &crate::metrics::Attachment| Interface {
        name: attachment.interface.clone(),
        mode: attachment.mode.to_owned(),
    };
    overview.interfaces = facts.interfaces.attachments.iter().map(interface).collect();
    overview.interfaces_covered = facts.interfaces.covered;
    let reasons = Uncovered::ALL.iter().zip(facts.interfaces.uncovered);
    overview.uncovered = reasons.filter_map(|(why, count)| reason(why.name(), count)).collect();
}

/// None of none.
fn reason(reason: &str, count: u64) -> Option<Reason> {
    (count > 0).then(|| Reason { reason: reason.to_owned(), count })
}

fn agents_own(view: &View, overview: &mut Overview) {
    let canaries = view.canaries.iter();
    overview.canaries = canaries
        .map(|(path, canary)| Canary {
            path: (*path).to_owned(),
            live: canary.live,
            last_success: canary.last_success,
        })
        .collect();
    let sinks = view.sinks.iter();
    overview.sinks = sinks
        .map(|(name, counters)| Sink {
            name: name.to_string(),
            delivered: counters.delivered_total(),
            lost: Loss::ALL
                .iter()
                .filter_map(|loss| reason(loss.name(), counters.lost_total(*loss)))
                .collect(),
        })
        .collect();
    overview.bans = BanKind::ALL.iter().map(|kind| view.counters.bans.by_hand(*kind)).sum();
    if let Some(process) = &view.process {
        overview.started = process.start_seconds;
        overview.usage = Usage {
            cpu_seconds: process.cpu_seconds,
            resident_bytes: process.resident_bytes,
            open_fds: process.open_fds,
        };
    }
}

fn books(view: &View, kernel: &Snapshot) -> Vec<Book> {
    let book = |kind: &Kind| {
        let mut book = Book {
            kind: kind.name().to_owned(),
            delivered: view.counters.delivered_total(*kind),
            ..Book::default()
        };
        for (_, count, value) in kernel.events.iter().filter(|(of, _, _)| of == kind) {
            match count.family() {
                Family::Seen => book.seen += value,
                Family::Suppressed => book.suppressed += value,
                Family::Lost => book.lost += value,
                Family::Submitted => {}
            }
        }
        let lost = kernel.lost.iter().filter(|(of, _, _)| of == kind);
        book.lost += lost.map(|(_, _, value)| value).sum::<u64>();
        book
    };
    Kind::ALL.iter().map(book).collect()
}

fn rules(kernel: &Snapshot) -> Vec<Rule> {
    let mut counts = BTreeMap::<_, u64>::new();
    for decided in kernel.decisions.iter().filter(|decided| decided.verdict > verdict::ALLOW) {
        let key = (
            decided.rule_kind.name(),
            decided.rule.to_string(),
            verdict::name(decided.verdict),
            decided.mode.name(),
        );
        *counts.entry(key).or_default() += decided.count;
    }
    for packets in &kernel.packets {
        let mode = match packets.outcome {
            Outcome::Drop => "enforce",
            Outcome::WouldDrop => "observe",
            Outcome::Pass | Outcome::Protected | Outcome::Spared => continue,
        };
        let key = (RuleKind::RateLimit.name(), packets.rule.to_string(), verdict::name(verdict::DROP), mode);
        *counts.entry(key).or_default() += packets.packets;
    }
    let rule = |((kind, rule, verdict, mode), count): ((&str, String, &str, &str), u64)| Rule {
        rule,
        kind: kind.to_owned(),
        verdict: verdict.to_owned(),
        mode: mode.to_owned(),
        count,
    };
    counts.into_iter().map(rule).filter(|rule| rule.count > 0).collect()
}

fn limits(view: &View, kernel: &Snapshot) -> Vec<Limit> {
    let mut limits = BTreeMap::<&str, Limit>::new();
    for packets in &kernel.packets {
        let limit = limits.entry(&packets.rule).or_default();
        packets.mode.name().clone_into(&mut limit.mode);
        match packets.outcome {
            Outcome::Pass | Outcome::Protected | Outcome::Spared => limit.passed += packets.packets,
            Outcome::Drop | Outcome::WouldDrop => {
                limit.dropped += packets.packets;
                limit.dropped_bytes += packets.bytes;
            }
        }
    }
    for (rule, tracked) in &kernel.sources {
        limits.entry(rule).or_default().tracked += tracked;
    }
    for penalties in &view.penalties {
        limits.entry(&penalties.rule).or_default().penalties += penalties.active;
    }
    let named = |(rule, limit): (&str, Limit)| Limit { rule: rule.to_owned(), ..limit };
    limits.into_iter().map(named).collect()
}

fn databases(kernel: &Snapshot) -> Vec<Database> {
    let mut databases = BTreeMap::<_, Database>::new();
    for decided in &kernel.databases {
        let key = (&*decided.database, decided.direction.name(), decided.workload.as_deref());
        let row = databases.entry(key).or_default();
        match (decided.verdict > verdict::ALLOW, decided.mode) {
            (false, _) => row.allowed += decided.count,
            (true, monitor_common::policy::Mode::Enforce) => row.refused += decided.count,
            (true, monitor_common::policy::Mode::Observe) => row.would_refuse += decided.count,
        }
    }
    for traffic in &kernel.traffic {
        let key = (&*traffic.database, traffic.direction.name(), traffic.workload.as_deref());
        let row = databases.entry(key).or_default();
        row.open += traffic.opened.saturating_sub(traffic.closed);
        row.received += traffic.received;
        row.sent += traffic.sent;
    }
    let row = |((database, direction, workload), row): ((&str, &str, Option<&str>), Database)| Database {
        database: database.to_owned(),
        direction: direction.to_owned(),
        workload: workload.map(str::to_owned),
        ..row
    };
    let used = |row: &Database| row.open + row.allowed + row.refused + row.would_refuse > 0;
    databases.into_iter().map(row).filter(used).collect()
}
