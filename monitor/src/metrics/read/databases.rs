//! Values about databases.

use monitor_common::policy::verdict;

use crate::metrics::{
    collect::{Number, Samples, View},
    snapshot::DatabaseTraffic,
};

/// Label value for what belongs to no workload.
pub(in crate::metrics) const NO_WORKLOAD: &str = "other";

pub(in crate::metrics) fn database_connections<'v>(view: &'v View, out: &mut Samples<'v>) {
    for connections in view.kernel.iter().flat_map(|kernel| &kernel.databases) {
        let labels = [
            &*connections.database,
            connections.direction.name(),
            connections.workload.as_deref().unwrap_or(NO_WORKLOAD),
            verdict::name(connections.verdict),
            connections.mode.name(),
        ];
        out.add(labels, connections.count);
    }
}

fn traffic<'v, T: Into<Number>>(
    view: &'v View,
    out: &mut Samples<'v>,
    value: impl Fn(&DatabaseTraffic) -> T,
) {
    for traffic in view.kernel.iter().flat_map(|kernel| &kernel.traffic) {
        let workload = traffic.workload.as_deref().unwrap_or(NO_WORKLOAD);
        out.add([&*traffic.database, traffic.direction.name(), workload], value(traffic));
    }
}

pub(in crate::metrics) fn database_open<'v>(view: &'v View, out: &mut Samples<'v>) {
    // They are counted on many CPUs, and not read at one instant.
    traffic(view, out, |traffic| traffic.opened.saturating_sub(traffic.closed));
}

pub(in crate::metrics) fn database_received<'v>(view: &'v View, out: &mut Samples<'v>) {
    traffic(view, out, |traffic| traffic.received);
}

pub(in crate::metrics) fn database_sent<'v>(view: &'v View, out: &mut Samples<'v>) {
    traffic(view, out, |traffic| traffic.sent);
}

pub(in crate::metrics) fn database_duration<'v>(view: &'v View, out: &mut Samples<'v>) {
    traffic(view, out, |traffic| traffic.lifetimes);
}
