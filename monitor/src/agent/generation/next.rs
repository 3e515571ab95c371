//! The change from one generation to the next in a process that goes on.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};

use super::Generation;
use crate::{
    agent::{
        counters::KernelCounters,
        interfaces::{Covering, Suspended},
        reload::Reloader,
    },
    config::Config,
};

/// A generation that another takes over from, in the same process.
pub(in crate::agent) struct Relieved {
    covering: Covering,
    suspended: Option<Suspended>,
    pub(super) counters: Arc<KernelCounters>,
}

impl Relieved {
    /// Makes room for the next: what covers interfaces lets go of them while the next begins.
    pub(super) fn new(covering: &Covering, counters: &Arc<KernelCounters>) -> Self {
        Self { covering: covering.clone(), suspended: covering.suspend(), counters: Arc::clone(counters) }
    }

    /// The next has taken everything over.
    pub(super) fn hand_over(self) {
        if let Some(suspended) = self.suspended {
            suspended.hand_over();
        }
    }

    /// The next didn't come, or goes: goes on as before.
    pub(super) fn resume(self) {
        if let Some(suspended) = self.suspended {
            self.covering.resume(suspended);
        }
    }
}

/// The next generation, and what it is the next of.
pub(in crate::agent) struct Next {
    pub(in crate::agent) generation: Generation,
    pub(in crate::agent) relieved: Relieved,
    /// How long it is on trial.
    pub(in crate::agent) trial: Option<Duration>,
}

impl Next {
    /// Begins it.
    ///
    /// # Errors
    /// As [`Generation::begin`].
    pub(in crate::agent) fn begin(
        config: Config,
        reloader: &Reloader,
        policies: u64,
        trial: Option<Duration>,
    ) -> Result<Self> {
        reloader.around.pins.as_ref().context(
            "only what is said of packets can change while the agent runs, because nothing can be pinned here (the log of the \
             start says why); restart it",
        )?;
        if let Some(bans) = &reloader.bans {
            bans.save_now()?;
        }
        let relieved = Relieved::new(&reloader.covering, &reloader.counters);
        match Generation::begin(config, &reloader.around, Some(&relieved), policies, trial) {
            Ok(generation) => {
                if let Some(bans) = &reloader.bans {
                    bans.retire();
                }
                Ok(Self { generation, relieved, trial })
            }
            Err(error) => {
                relieved.resume();
                Err(error)
            }
        }
    }
}
