//! What the kernel programs and their maps cost.

use monitor_common::limits;

use crate::metrics::{
    BanKind,
    collect::{Samples, View},
    snapshot::Map,
};

pub(in crate::metrics) fn program_runs<'v>(view: &'v View, out: &mut Samples<'v>) {
    for program in view.kernel.iter().flat_map(|kernel| &kernel.programs) {
        out.add([&*program.name], program.runs);
    }
}

pub(in crate::metrics) fn program_run_seconds<'v>(view: &'v View, out: &mut Samples<'v>) {
    for program in view.kernel.iter().flat_map(|kernel| &kernel.programs) {
        out.add([&*program.name], program.run_seconds);
    }
}

/// The entries of a map, if they are counted.
fn entries(view: &View, map: &Map) -> Option<u64> {
    let bans = &view.counters.bans;
    match &*map.name {
        "BANS" => Some((bans.by_hand(BanKind::Host) + bans.remembered()).min(limits::BANS.into())),
        "BAN_NETS" => Some(bans.by_hand(BanKind::Net)),
        _ => map.entries,
    }
}

pub(in crate::metrics) fn map_entries<'v>(view: &'v View, out: &mut Samples<'v>) {
    for map in view.kernel.iter().flat_map(|kernel| &kernel.maps) {
        if let Some(entries) = entries(view, map) {
            out.add([&*map.name], entries);
        }
    }
}

pub(in crate::metrics) fn map_capacity<'v>(view: &'v View, out: &mut Samples<'v>) {
    for map in view.kernel.iter().flat_map(|kernel| &kernel.maps) {
        if entries(view, map).is_some() {
            out.add([&*map.name], map.capacity);
        }
    }
}

pub(in crate::metrics) fn map_bytes<'v>(view: &'v View, out: &mut Samples<'v>) {
    for map in view.kernel.iter().flat_map(|kernel| &kernel.maps) {
        out.add([&*map.name], map.bytes);
    }
}
