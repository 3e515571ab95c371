//! Interfaces.

use crate::metrics::{
    Change, Lifeline, Uncovered,
    collect::{Samples, View},
};

pub fn attach<'v>(view: &'v View, out: &mut Samples<'v>) {
    for attachment in &view.facts.interfaces.attachments {
        out.add([&*attachment.interface, attachment.mode], 1u64);
    }
}

pub fn attach_left_out<'v>(view: &'v View, out: &mut Samples<'v>) {
    let interfaces = &view.facts.interfaces;
    out.add([], interfaces.covered.saturating_sub(interfaces.attachments.len() as u64));
}

pub fn covered<'v>(view: &'v View, out: &mut Samples<'v>) {
    out.add([], view.facts.interfaces.covered);
}

pub fn uncovered<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (reason, count) in Uncovered::ALL.iter().zip(view.facts.interfaces.uncovered) {
        out.add([reason.name()], count);
    }
}

pub fn lifelines<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (reason, count) in Lifeline::ALL.iter().zip(view.facts.lifelines) {
        out.add([reason.name()], count);
    }
}

pub fn changes<'v>(view: &'v View, out: &mut Samples<'v>) {
    for change in Change::ALL {
        out.add([change.name()], view.counters.interfaces.changes(change));
    }
}
