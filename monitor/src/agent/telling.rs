//! From records to what people read.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use monitor_common::event::{Record, Unreadable};

use super::{
    bans::BansInForce,
    counters::KernelCounters,
    generation::{Generation, Left},
};
use crate::{
    metrics::Counters,
    pipeline::{detect, enrich::Enricher},
    policy::Names,
    recent::Recent,
    sink::Sinks,
};

/// What the event loop works with.
pub(super) struct Telling {
    pub(super) enricher: Enricher,
    pub(super) names: Names,
    pub(super) counters: Arc<Counters>,
    pub(super) kernel: Arc<KernelCounters>,
    pub(super) sinks: Sinks,
    pub(super) bans: BansInForce,
    /// For those who ask the running agent.
    pub(super) recent: Arc<Recent>,
}

impl Telling {
    /// Tells one.
    pub(super) fn tell(&mut self, record: Result<Record<'_>, Unreadable>) {
        match record {
            Ok(record) => {
                self.counters.delivered(record.kind());
                let mut event = self.enricher.complete(&record, &self.names);
                event.finding = detect::finding(record.header(), &event, &self.names);
                self.enricher.add_ancestry(&mut event);
                let event = Arc::new(event);
                self.recent.keep(&event);
                self.sinks.send(&event);
            }
            Err(error) => {
                tracing::error!("a record could not be read: {error:?}; agent and kernel programs don't fit");
                self.kernel.unreadable[0].fetch_add(1, Relaxed);
            }
        }
    }

    /// Tells of another generation from now on. The one before is off its hooks: what it saw is told in the words of its policy.
    pub(super) fn turn_to(&mut self, before: &mut Generation, now: &Generation) {
        before.source.rest(|record| self.tell(record));
        self.names.clone_from(&now.names);
        self.kernel = Arc::clone(now.counters());
        self.bans.set(now.reloader.bans.clone());
    }

    /// Tells what happened without an agent, in the words of the policy of then. Before anything else is told.
    pub(super) fn tell_left(&mut self, mut left: Left) {
        let now = self.names.clone();
        if let Some(names) = left.names.take() {
            self.names = names;
        }
        left.rest(|record| self.tell(record));
        self.names = now;
    }
}
