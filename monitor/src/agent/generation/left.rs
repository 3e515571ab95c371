//! What a generation left whose agent had ended.

use std::{sync::Arc, time::Duration};

use monitor_common::event::{Record, Unreadable};

use crate::{agent::succession::Predecessor, kernel::pins::Pins, pipeline::source::Source, policy::Names};

/// The rings of a generation that went on without an agent, and is off its hooks now.
pub(in crate::agent) struct Left {
    source: Source,
    /// The names of the policy that the records were made under, if they are known.
    pub(in crate::agent) names: Option<Names>,
    alone: Duration,
    pins: Arc<Pins>,
    generation: u64,
}

impl Left {
    /// What is left of one; nothing, which the log says, if its rings can't be read.
    pub(super) fn of(before: Predecessor, pins: &Arc<Pins>) -> Option<Self> {
        let (alone, generation, pins) = (before.alone(), before.generation, Arc::clone(pins));
        match before.source() {
            Ok(source) => {
                let names = before.known.map(|known| known.names);
                Some(Self { source, names, alone, pins, generation })
            }
            Err(error) => {
                tracing::warn!("what happened without an agent can't be told: {error:#}");
                pins.remove(generation);
                None
            }
        }
    }

    /// Hands over what happened without an agent, and forgets the generation.
    pub(in crate::agent) fn rest(mut self, mut each: impl FnMut(Result<Record<'_>, Unreadable>)) {
        let mut count = 0_u64;
        self.source.rest(|record| {
            each(record);
            count += 1;
        });
        tracing::warn!(
            "what was in force went on without an agent for {} s; {count} events of that time are told now, and \
             monitor_events_lost_total says how many there was no room for",
            self.alone.as_secs()
        );
        self.pins.remove(self.generation);
    }
}
