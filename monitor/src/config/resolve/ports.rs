//! Lists of ports.

use std::ops::RangeInclusive;

use super::Checker;
use crate::config::limits::MAX_PORT_ENTRIES;
use crate::config::net;
use crate::config::raw::{At, List, Port};

pub(super) type Ports = Vec<RangeInclusive<u16>>;

/// Reads the ports of a rule: sorted, merged where they overlap.
pub(super) fn ports(file: &mut Checker, raw: &At<List<Port>>) -> Ports {
    if raw.value.items.is_empty() && !raw.value.incomplete {
        file.error(raw.span, "`ports` is empty and would match nothing", "list at least one port");
    }
    if let Some(first) = raw.value.items.get(MAX_PORT_ENTRIES) {
        let help = "write neighbouring ports as a range: `\"6000-6010\"`";
        file.error(first.span, format!("more than {MAX_PORT_ENTRIES} entries in `ports`"), help);
    }
    let mut found: Ports = Vec::new();
    for item in raw.value.items.iter().take(MAX_PORT_ENTRIES) {
        let Some(range) = file.accept(item.span, net::port(&item.value)) else { continue };
        if found.iter().any(|other| other.start() <= range.end() && range.start() <= other.end()) {
            let message = format!("{} is listed twice", show(std::slice::from_ref(&range)));
            file.warn(item.span, message, "remove one of them");
        }
        found.push(range);
    }
    merge(found)
}

/// The ports in both of two sorted lists.
pub(super) fn common(a: &[RangeInclusive<u16>], b: &[RangeInclusive<u16>]) -> Ports {
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (first, last) = ((*x.start()).max(*y.start()), (*x.end()).min(*y.end()));
        if first <= last {
            found.push(first..=last);
        }
        if x.end() < y.end() { i += 1 } else { j += 1 }
    }
    found
}

/// Sorts ranges of ports and joins those that touch or overlap.
fn merge(mut ports: Ports) -> Ports {
    ports.sort_unstable_by_key(|range| *range.start());
    let mut merged: Ports = Vec::with_capacity(ports.len());
    for range in ports {
        match merged.last_mut() {
            Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                *last = *last.start()..=(*last.end()).max(*range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// `port 5432` or `ports 5432, 6000-6010`, cut after eight.
pub(super) fn show(ports: &[RangeInclusive<u16>]) -> String {
    let one = |range: &RangeInclusive<u16>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    let mut shown: Vec<_> = ports.iter().take(8).map(one).collect();
    if ports.len() > shown.len() {
        shown.push("...".into());
    }
    let single = matches!(ports, [range] if range.start() == range.end());
    format!("port{} {}", if single { "" } else { "s" }, shown.join(", "))
}
