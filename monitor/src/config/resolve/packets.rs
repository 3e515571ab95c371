//! How packets are counted.

use super::Checker;
use super::interfaces::name_or_glob;
use crate::config::limits::{MAX_INTERFACES, MAX_SOURCE_MEMORY, MIN_SOURCE_MEMORY};
use crate::config::model::{Limit, PacketInterface, Packets};
use crate::config::pattern::Wrong;
use crate::config::rate;
use crate::config::raw::{self, At};
use crate::config::source::quoted;

/// Reads `[packets]`.
pub(super) fn packets(file: &mut Checker, raw: &raw::Packets) -> Packets {
    let default = Packets::default();
    let mut packets = Packets {
        attach: raw.attach.or(default.attach),
        if_held: raw.if_held.or(default.if_held),
        memory: default.memory,
        unparsed: default.unparsed,
        interfaces: Vec::new(),
    };
    if let Some(at) = raw.memory.given() {
        packets.memory = file.accept(at.span, memory(&at.value)).unwrap_or(default.memory);
    }
    if let Some(at) = raw.unparsed.given() {
        packets.unparsed = file.accept(at.span, limit_or_off(&at.value)).unwrap_or(default.unparsed);
    }
    let mut count = 0;
    for raw in raw.interface.items() {
        file.count(&mut count, MAX_INTERFACES, "`[[packets.interface]]` tables", raw.span);
        if let Some(found) = interface(file, raw, &packets) {
            packets.interfaces.push(found);
        }
    }
    packets
}

fn memory(text: &str) -> Result<u64, Wrong> {
    let memory = rate::size(text)?;
    if (MIN_SOURCE_MEMORY..=MAX_SOURCE_MEMORY).contains(&memory) {
        return Ok(memory);
    }
    let (least, most) = (MIN_SOURCE_MEMORY >> 10, MAX_SOURCE_MEMORY >> 30);
    let help = "about 90 bytes are needed for each source: `\"16MiB\"` is enough for 131,072";
    Err((format!("the memory {} is not from {least} KiB to {most} GiB", quoted(text)), help.into()))
}

/// Reads a rate with a second's worth at once, or `off`.
pub(super) fn limit_or_off(text: &str) -> Result<Option<Limit>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let rate =
        rate::events(text).map_err(|(message, help)| (message, format!("{help}; `\"off\"` for none")))?;
    Ok(Some(Limit { rate, burst: rate.per_second() }))
}

fn interface(
    file: &mut Checker,
    raw: &At<raw::PacketInterface>,
    of_all: &Packets,
) -> Option<PacketInterface> {
    const TABLE: &str = "packets.interface";
    let At { value: table, span } = raw;
    if table.attach.is_absent() && table.if_held.is_absent() && !file.parsed.is_broken(*span) {
        let help = "add `attach = \"tcx\"` or `if_held = \"stop\"`, or remove the table";
        file.error(file.header(*span), "`[[packets.interface]]` needs `attach` or `if_held`", help);
    }
    let at = file.required(&table.name, TABLE, "name", *span)?;
    let name = file.accept(at.span, name_or_glob(&at.value))?;
    if of_all.interfaces.iter().any(|other| other.name.value == name) {
        let message = format!("two `[[packets.interface]]` tables are for {}", quoted(&name));
        file.error(at.span, message, "the first one decides: remove one of them");
    }
    Some(PacketInterface {
        name: file.spanned(name, at.span),
        attach: table.attach.or(of_all.attach),
        if_held: table.if_held.or(of_all.if_held),
    })
}
