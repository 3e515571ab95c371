//! Values of sinks.

use crate::metrics::{
    Loss, SinkCounters,
    collect::{Number, Samples, View},
};

fn each<'v, T: Into<Number>>(view: &'v View, out: &mut Samples<'v>, value: impl Fn(&SinkCounters) -> T) {
    for (name, sink) in &view.sinks {
        out.add([&**name], value(sink));
    }
}

pub(in crate::metrics) fn sink_delivered<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.delivered_total());
}

pub(in crate::metrics) fn sink_folded<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.folded_total());
}

pub(in crate::metrics) fn sink_bytes<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.bytes());
}

pub(in crate::metrics) fn sink_errors<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.errors());
}

pub(in crate::metrics) fn sink_queue<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.queued());
}

pub(in crate::metrics) fn sink_queue_most<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.most_queued());
}

pub(in crate::metrics) fn sink_queue_capacity<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.capacity());
}

pub(in crate::metrics) fn sink_latency<'v>(view: &'v View, out: &mut Samples<'v>) {
    each(view, out, |sink| sink.latency());
}

pub(in crate::metrics) fn sink_lost<'v>(view: &'v View, out: &mut Samples<'v>) {
    for (name, sink) in &view.sinks {
        for reason in Loss::ALL {
            out.add([&**name, reason.name()], sink.lost_total(reason));
        }
    }
}
