//! Where the values of each metric come from: one function per row of the table.

mod bans;
mod databases;
mod facts;
mod interfaces;
mod kernel;
mod sinks;

use monitor_common::{
    count::{Family, Outcome, Stat},
    event::Kind,
    policy::{Mode, RuleKind, verdict},
};

use super::{
    HttpPath, HttpStatus, METRICS,
    collect::{Samples, View},
    snapshot::Packets,
};

pub(super) use bans::{
    bans_active, bans_state_failures, control_requests, penalties_active, penalties_repeated, policy_reloads,
};
pub(super) use databases::{
    NO_WORKLOAD, database_connections, database_duration, database_open, database_received, database_sent,
};
pub(super) use facts::{build, capability, kernel, policy, rule};
pub(super) use interfaces::{attach, attach_left_out, changes, covered, lifelines, uncovered};

pub(super) use kernel::{map_bytes, map_capacity, map_entries, program_run_seconds, program_runs};
pub(super) use sinks::{
    sink_bytes, sink_delivered, sink_errors, sink_folded, sink_latency, sink_lost, sink_queue,
    sink_queue_capacity, sink_queue_most,
};

pub(super) fn events_seen<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (kind, count, value) in view.kernel.iter().flat_map(|kernel| &kernel.events) {
        if count.family() == Family::Seen {
            out.add([kind.name()], *value);
        }
    }
}

pub(super) fn events_delivered<'v>(view: &'v View, out: &mut Samples<'v>) {
    for kind in Kind::ALL {
        out.add([kind.name()], view.counters.delivered_total(*kind));
    }
}

fn events_with_reason<'v>(family: Family, view: &'v View, out: &mut Samples<'v>) {
    for (kind, count, value) in view.kernel.iter().flat_map(|kernel| &kernel.events) {
        if count.family() == family {
            out.add([kind.name(), count.reason()], *value);
        }
    }
}

pub(super) fn events_suppressed<'v>(view: &'v View, out: &mut Samples<'v>) {
    events_with_reason(Family::Suppressed, view, out);
}

pub(super) fn events_lost<'v>(view: &'v View, out: &mut Samples<'v>) {
    events_with_reason(Family::Lost, view, out);
    for (kind, reason, value) in view.kernel.iter().flat_map(|kernel| &kernel.lost) {
        out.add([kind.name(), reason], *value);
    }
}

pub(super) fn findings<'v>(view: &'v View, out: &mut Samples<'v>) {
    let Some(kernel) = &view.kernel else { return };
    for decided in kernel.decisions.iter().filter(|decided| decided.verdict > verdict::ALLOW) {
        let labels =
            [&*decided.rule, decided.rule_kind.name(), verdict::name(decided.verdict), decided.mode.name()];
        out.add(labels, decided.count);
    }
    for packets in &kernel.packets {
        let (verdict, mode) = packet_verdict(packets);
        if verdict > verdict::ALLOW {
            let labels = [&*packets.rule, RuleKind::RateLimit.name(), verdict::name(verdict), mode.name()];
            out.add(labels, packets.packets);
        }
    }
}

/// The verdict on packets with this outcome, and the mode it was in.
fn packet_verdict(packets: &Packets) -> (u8, Mode) {
    match packets.outcome {
        Outcome::Pass | Outcome::Protected | Outcome::Spared => (verdict::ALLOW, packets.mode),
        // The outcome says what happened, even if the mode was switched since.
        Outcome::Drop => (verdict::DROP, Mode::Enforce),
        Outcome::WouldDrop => (verdict::DROP, Mode::Observe),
    }
}

pub(super) fn packets<'v>(view: &'v View, out: &mut Samples<'v>) {
    for packets in view.kernel.iter().flat_map(|kernel| &kernel.packets) {
        let (verdict, mode) = packet_verdict(packets);
        out.add([&*packets.rule, verdict::name(verdict), mode.name()], packets.packets);
    }
}

pub(super) fn bytes<'v>(view: &'v View, out: &mut Samples<'v>) {
    for packets in view.kernel.iter().flat_map(|kernel| &kernel.packets) {
        let (verdict, mode) = packet_verdict(packets);
        out.add([&*packets.rule, verdict::name(verdict), mode.name()], packets.bytes);
    }
}

pub(super) fn packets_protected<'v>(view: &'v View, out: &mut Samples<'v>) {
    for packets in view.kernel.iter().flat_map(|kernel| &kernel.packets) {
        if packets.outcome == Outcome::Protected {
            out.add([&*packets.rule], packets.packets);
        }
    }
}

pub(super) fn packets_unparsed<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (reason, outcome, value) in view.kernel.iter().flat_map(|kernel| &kernel.unparsed) {
        out.add([reason.name(), outcome.name()], *value);
    }
}

pub(super) fn packets_over<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (rule, cause, value) in view.kernel.iter().flat_map(|kernel| &kernel.over) {
        out.add([&**rule, cause.name()], *value);
    }
}

pub(super) fn packets_spared<'v>(view: &'v View, out: &mut Samples<'v>) {
    for packets in view.kernel.iter().flat_map(|kernel| &kernel.packets) {
        if packets.outcome == Outcome::Spared {
            out.add([&*packets.rule], packets.packets);
        }
    }
}

pub(super) fn sources_tracked<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (rule, value) in view.kernel.iter().flat_map(|kernel| &kernel.sources) {
        out.add([&**rule], *value);
    }
}

pub(super) fn enforcement_live<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (path, canary) in &view.canaries {
        out.add([path], u64::from(canary.live));
    }
}

pub(super) fn canary_last_success<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (path, canary) in &view.canaries {
        if let Some(time) = canary.last_success {
            out.add([path], time);
        }
    }
}

pub(super) fn processes_unknown<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(kernel) = &view.kernel {
        out.add([], kernel.processes_unknown);
    }
}

pub(super) fn cgroups_throttled<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(kernel) = &view.kernel {
        out.add([], kernel.cgroups_throttled);
    }
}

fn stat<'v>(wanted: Stat, view: &'v View, out: &mut Samples<'v>) {
    for (stat, value) in view.kernel.iter().flat_map(|kernel| &kernel.stats) {
        if *stat == wanted {
            out.add([], *value);
        }
    }
}

pub(super) fn process_table_full<'v>(view: &'v View, out: &mut Samples<'v>) {
    stat(Stat::ProcessTableFull, view, out);
}

pub(super) fn connection_table_full<'v>(view: &'v View, out: &mut Samples<'v>) {
    stat(Stat::ConnectionTableFull, view, out);
}

pub(super) fn unknown_decisions<'v>(view: &'v View, out: &mut Samples<'v>) {
    stat(Stat::UnknownProcess, view, out);
}

pub(super) fn stale_files<'v>(view: &'v View, out: &mut Samples<'v>) {
    stat(Stat::StaleFile, view, out);
}

pub(super) fn unverified_execs<'v>(view: &'v View, out: &mut Samples<'v>) {
    stat(Stat::UnverifiedFile, view, out);
}

pub(super) fn cgroup_table_full<'v>(view: &'v View, out: &mut Samples<'v>) {
    stat(Stat::CgroupTableFull, view, out);
}

pub(super) fn files_replaced<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(kernel) = &view.kernel {
        out.add([], kernel.files_replaced);
    }
}

pub(super) fn files_unverified<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(kernel) = &view.kernel {
        out.add([], kernel.files_unverified);
    }
}

pub(super) fn exec_hook_runs<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (stat, value) in view.kernel.iter().flat_map(|kernel| &kernel.stats) {
        match stat {
            Stat::ExecHookRuns => out.add(["tracepoint"], *value),
            Stat::LsmHookRuns => out.add(["lsm"], *value),
            _ => {}
        }
    }
}

pub(super) fn http_requests<'v>(view: &'v View, out: &mut Samples<'v>) {
    for path in HttpPath::ALL {
        for status in HttpStatus::ALL {
            out.add([path.name(), status.name()], view.counters.http_requests(path, status));
        }
    }
}

pub(super) fn gone_seconds<'v>(view: &'v View, out: &mut Samples<'v>) {
    out.add([], view.counters.gone_seconds());
}

pub(super) fn cpu_seconds<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(process) = &view.process {
        out.add([], process.cpu_seconds);
    }
}

pub(super) fn resident_bytes<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(process) = &view.process {
        out.add([], process.resident_bytes);
    }
}

pub(super) fn open_fds<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(process) = &view.process {
        out.add([], process.open_fds);
    }
}

pub(super) fn start_seconds<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let Some(process) = &view.process {
        out.add([], process.start_seconds);
    }
}

pub(super) fn series_folded<'v>(view: &'v View, out: &mut Samples<'v>) {
    let folded = view.series.folded();
    for metric in METRICS.iter().filter(|metric| !metric.labels.is_empty()) {
        out.add([metric.name], folded.get(metric.name).copied().unwrap_or(0));
    }
}
