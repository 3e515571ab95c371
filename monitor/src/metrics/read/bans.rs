//! Where the values about bans, and about what is asked of a running agent, come from.

use crate::metrics::{
    BanFailure, BanKind, ControlOutcome, Reload,
    collect::{Samples, View},
};

pub(in crate::metrics) fn bans_active<'v>(view: &'v View, out: &mut Samples<'v>) {
    for kind in BanKind::ALL {
        out.add([kind.name()], view.counters.bans.by_hand(kind));
    }
}

pub(in crate::metrics) fn penalties_active<'v>(view: &'v View, out: &mut Samples<'v>) {
    for penalties in &view.penalties {
        out.add([&*penalties.rule], penalties.active);
    }
}

pub(in crate::metrics) fn penalties_repeated<'v>(view: &'v View, out: &mut Samples<'v>) {
    for penalties in &view.penalties {
        out.add([&*penalties.rule], penalties.repeated);
    }
}

pub(in crate::metrics) fn bans_state_failures<'v>(view: &'v View, out: &mut Samples<'v>) {
    for what in BanFailure::ALL {
        out.add([what.name()], view.counters.bans.failures(what));
    }
}

pub(in crate::metrics) fn policy_reloads<'v>(view: &'v View, out: &mut Samples<'v>) {
    for outcome in Reload::ALL {
        out.add([outcome.name()], view.counters.reloads(outcome));
    }
}

pub(in crate::metrics) fn control_requests<'v>(view: &'v View, out: &mut Samples<'v>) {
    for outcome in ControlOutcome::ALL {
        out.add([outcome.name()], view.counters.controls(outcome));
    }
}
