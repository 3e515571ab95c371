//! Where the values of each metric come from: one function per row of the table.

mod bans;
mod databases;
mod interfaces;

use monitor_common::{
    count::{Family, Outcome, Stat},
    event::Kind,
    policy::{Mode, RuleKind, verdict},
};

use super::{
    HttpPath, HttpStatus, Loss,
    collect::{Samples, View},
    snapshot::Packets,
};

pub(super) use bans::{bans_active, bans_state_failures, control_requests, penalties_active, policy_reloads};
pub(super) use databases::{
    NO_WORKLOAD, database_connections, database_duration, database_open, database_received, database_sent,
};
pub(super) use interfaces::{attach, attach_left_out, changes, covered, uncovered};

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

pub(super) fn capability<'v>(view: &'v View, out: &mut Samples<'v>) {
    for capability in &view.facts.capabilities {
        out.add([capability.feature, capability.state, capability.reason], 1u64);
    }
}

pub(super) fn policy<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let (Some(policy), Some(generation)) = (&view.facts.policy, &view.generation) {
        out.add([&*policy.sha256, generation, policy.mode], 1u64);
    }
}

pub(super) fn build<'v>(view: &'v View, out: &mut Samples<'v>) {
    out.add([&*view.facts.build.version, &*view.facts.build.object_sha256], 1u64);
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

pub(super) fn program_runs<'v>(view: &'v View, out: &mut Samples<'v>) {
    for program in view.kernel.iter().flat_map(|kernel| &kernel.programs) {
        out.add([&*program.name], program.runs);
    }
}

pub(super) fn program_run_seconds<'v>(view: &'v View, out: &mut Samples<'v>) {
    for program in view.kernel.iter().flat_map(|kernel| &kernel.programs) {
        out.add([&*program.name], program.run_seconds);
    }
}

pub(super) fn map_entries<'v>(view: &'v View, out: &mut Samples<'v>) {
    for map in view.kernel.iter().flat_map(|kernel| &kernel.maps) {
        out.add([&*map.name], map.entries);
    }
}

pub(super) fn map_capacity<'v>(view: &'v View, out: &mut Samples<'v>) {
    for map in view.kernel.iter().flat_map(|kernel| &kernel.maps) {
        out.add([&*map.name], map.capacity);
    }
}

pub(super) fn sink_delivered<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (name, sink) in &view.sinks {
        out.add([&**name], sink.delivered_total());
    }
}

pub(super) fn sink_folded<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (name, sink) in &view.sinks {
        out.add([&**name], sink.folded_total());
    }
}

pub(super) fn sink_lost<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (name, sink) in &view.sinks {
        for reason in Loss::ALL {
            out.add([&**name, reason.name()], sink.lost_total(reason));
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
