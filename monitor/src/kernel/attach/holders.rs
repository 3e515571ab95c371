//! Who else is attached to an interface, and what a killed agent left there.

use std::{fmt, fs};

use anyhow::Result;
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};

use crate::{
    config::Attach,
    host::interfaces::{Filter, Interfaces, Link},
};

/// Names of ours that traffic control may hold, and of maps that only ours have.
const FILTERS: &[&str] = &["ingress_tc", "ingress_tc_rest"];
const MAPS: &[&str] = &["RATE_STATE", "RATE_HEADS"];

/// A program stands where ours would have to.
#[derive(Debug)]
pub(super) struct Busy {
    /// Its id.
    pub program: u32,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is in front of us", named("program", self.program))
    }
}

impl std::error::Error for Busy {}

/// Who holds an interface in some way, in words; nobody if empty.
pub fn holders_of(link: &Link, way: Attach) -> Vec<String> {
    match way {
        Attach::Xdp | Attach::XdpGeneric => {
            // As it is now: the one at hand may be older than what was tried.
            let now = Interfaces::open().and_then(|mut interfaces| interfaces.list()).unwrap_or_default();
            let link = now.iter().find(|other| other.index == link.index).unwrap_or(link);
            link.xdp.iter().map(|id| named("XDP program", *id)).collect()
        }
        Attach::Tc => {
            let filters = Interfaces::open().and_then(|mut interfaces| interfaces.filters(link.index));
            filters.unwrap_or_default().iter().map(|filter| named("tc program", filter.program)).collect()
        }
        // Any number of programs have room there.
        Attach::Auto | Attach::Tcx => Vec::new(),
    }
}

fn named(kind: &str, id: u32) -> String {
    match info(id) {
        // Its loader chose the name.
        Some(info) => format!("{kind} {:?} (id {id})", info.name_as_str().unwrap_or_default()),
        None => format!("{kind} {id}"),
    }
}

fn info(id: u32) -> Option<ProgramInfo> {
    loaded_programs().flatten().find(|info| info.id() == id)
}

/// Takes out filters that an agent before left on an interface: they are no links, so there is nothing to take over. How many
/// there were. `but` are programs of ours that stay.
///
/// # Errors
/// When the kernel refuses to tell, or to take one out.
pub fn remove_leftovers(interfaces: &mut Interfaces, index: u32, but: &[u32]) -> Result<usize> {
    let is_left = |filter: &Filter| !but.contains(&filter.program) && is_ours(filter.program);
    let left: Vec<Filter> = interfaces.filters(index)?.into_iter().filter(is_left).collect();
    for filter in &left {
        interfaces.remove_filter(index, *filter)?;
    }
    Ok(left.len())
}

/// Whether a program is one of this agent or of one before, of whatever build: not of another that lives.
pub(super) fn is_ours(id: u32) -> bool {
    let Some(info) = info(id) else { return false };
    let named = info.name_as_str().is_some_and(|name| FILTERS.contains(&name));
    named && has_our_maps(&info) && !is_held_by_another(id)
}

fn has_our_maps(info: &ProgramInfo) -> bool {
    let Ok(Some(ids)) = info.map_ids() else { return false };
    let maps: Vec<MapInfo> = ids.into_iter().flat_map(MapInfo::from_id).collect();
    MAPS.iter().all(|ours| maps.iter().any(|map| map.name_as_str() == Some(ours)))
}

fn is_held_by_another(id: u32) -> bool {
    let own = std::process::id().to_string();
    let line = format!("prog_id:\t{id}\n");
    let holds = |directory: fs::ReadDir| {
        directory
            .flatten()
            .any(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(&line)))
    };
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let others = processes.flatten().filter(|process| process.file_name() != *own);
    others.into_iter().any(|process| fs::read_dir(process.path().join("fdinfo")).is_ok_and(holds))
}
