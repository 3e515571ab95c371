//! Sees again and again for itself that what is attached acts: a link can be taken away, and there are ways to have hooks
//! fall silent while they stay attached.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::orders::{Order, Orders, Wish};
use crate::{kernel::canary, metrics::Counters};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);
/// How long after everything was attached anew in vain it is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How often the thread looks whether the agent ends.
const NAP: Duration = Duration::from_millis(200);

/// The ways of enforcement that are looked at.
pub(super) struct Canaries {
    /// `path` label and expected outcome for execs; `None` without an exec rule.
    pub(super) exec: Option<(&'static str, canary::Outcome)>,
    /// Where people see it.
    pub(super) counters: Arc<Counters>,
    /// Where it is asked to have everything attached anew; none where only a restart does that.
    pub(super) orders: Option<Orders>,
}

/// The `path` label of the canary of execs, and what is to become of it.
pub(super) fn expected(exec_lsm: bool) -> (&'static str, canary::Outcome) {
    match exec_lsm {
        true => ("exec_lsm", canary::Outcome::Refused),
        false => ("exec_signal", canary::Outcome::Killed),
    }
}

impl Canaries {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(self, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        let builder = std::thread::Builder::new().name("canaries".to_owned());
        builder.spawn(move || self.run(&stop)).context("can't start the thread of the canaries")
    }

    fn run(&self, stop: &AtomicBool) {
        let (mut exec, mut connect) = (true, true);
        let mut looked = Instant::now();
        let mut rearmed: Option<Instant> = None;
        while !stop.load(Relaxed) {
            std::thread::sleep(NAP);
            if looked.elapsed() < EVERY {
                continue;
            }
            looked = Instant::now();
            if let Some((path, expected)) = self.exec {
                match canary::exec() {
                    Ok(outcome) => self.note(&mut exec, path, outcome == expected),
                    // It was not even begun: that says nothing of enforcement.
                    Err(error) => tracing::warn!("{error:#}"),
                }
            }
            self.note(&mut connect, "connect", canary::connect());
            if !(exec && connect) && rearmed.is_none_or(|at| at.elapsed() >= AGAIN) && !stop.load(Relaxed) {
                rearmed = Some(Instant::now());
                self.rearm();
            }
        }
    }

    /// Has the same policy begin another generation: what was taken away is attached anew.
    fn rearm(&self) {
        let Some(orders) = &self.orders else { return };
        match orders.give(Order::Change(Wish::Again)) {
            Ok(_) => tracing::warn!("all kernel programs were attached anew"),
            Err(error) => tracing::error!("the kernel programs can't be attached anew: {error:#}"),
        }
    }

    /// `told` is what was said last.
    fn note(&self, told: &mut bool, path: &'static str, live: bool) {
        self.counters.canary(path, live, jiff::Timestamp::now());
        if *told != live && live {
            tracing::info!(path, "what must be refused is refused again");
        } else if *told != live {
            tracing::error!(
                path,
                "what must be refused is not refused any more: somebody has taken a kernel program away or switched it off \
                 (`kernel.ftrace_enabled`); rules of this kind don't hold until it is attached anew"
            );
        }
        *told = live;
    }
}
