//! One generation at work: from the moment that it judges until the next one does.

mod left;
mod next;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, bail};
use monitor_common::event::held::Held;
use tokio::sync::mpsc::Receiver;

pub(super) use self::{
    left::Left,
    next::{Next, Relieved},
};
use super::{
    counters::KernelCounters,
    interfaces::Follower,
    prepare::Ground,
    reload::{Reloader, State},
    start::{self, Engine, Surroundings},
    succession::{Kept, Predecessor},
};
use crate::{
    config::Config, host::processes::Found, kernel::control::Control, metrics::Metrics,
    pipeline::source::Source, policy::Names,
};

/// A generation that judges.
pub(super) struct Generation {
    /// Its end of the ring.
    pub(super) source: Source,
    /// What its watcher finds.
    pub(super) held: Receiver<Held>,
    /// The names of its policy.
    pub(super) names: Names,
    /// What there is of it, and changes its policy.
    pub(super) reloader: Arc<Reloader>,
    /// Processes that are older.
    pub(super) found: Vec<Found>,
    /// What a generation left whose agent had ended.
    pub(super) left: Option<Left>,
    /// The one that judges again if this one isn't confirmed.
    fallback: Option<Predecessor>,
    control: Option<Arc<Control>>,
    /// How long after its last sign of life the agent counts as gone.
    stale_after_ns: u64,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Takes what was begun out of the kernel unless it came to its end.
struct Unfinished<'a> {
    around: &'a Surroundings,
    generation: u64,
    done: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.done {
            forget(self.around, self.generation);
        }
    }
}

/// Takes a generation off, and forgets everything about it.
fn forget(around: &Surroundings, generation: u64) {
    if let Some(pins) = &around.pins {
        pins.remove(generation);
    }
    Kept::remove(&around.run_dir, generation);
}

/// Says that the agent is alive, and counts for how long it wasn't seen to be.
fn sign_of_life(control: &Control, stale_after_ns: u64, metrics: &Metrics) {
    let gone = Duration::from_nanos(control.beat(stale_after_ns));
    if !gone.is_zero() {
        tracing::warn!(
            "for {:.1} s there was no agent, or it hung: rules with `when_stale` held as they say then",
            gone.as_secs_f64()
        );
        metrics.counters().was_gone(gone);
    }
}

impl Generation {
    /// Brings a policy into force, beside the one in force and then instead of it. `relieved` is that, if it is of this
    /// process; `policies` is how many there were. With a `trial` the one before stays attached until this one is
    /// [settled](Self::settle).
    ///
    /// # Errors
    /// Says why it can't be; then what was in force still is.
    pub(super) fn begin(
        config: Config,
        around: &Surroundings,
        relieved: Option<&Relieved>,
        policies: u64,
        trial: Option<Duration>,
    ) -> Result<Self> {
        let ground = Ground::look()?;
        let before = around.pins.as_ref().and_then(|pins| Predecessor::find(pins, &around.run_dir));
        let policies = match before.as_ref().and_then(|before| before.known.as_ref()) {
            // Of an agent that has ended.
            Some(known) if relieved.is_none() => {
                known.policies + u64::from(known.config.sha256 != config.sha256)
            }
            _ => policies,
        };
        let engine = start::start(&config, &ground, around, before.as_ref())?;
        // The kernel's types are large.
        drop(ground);
        let mut unfinished = Unfinished { around, generation: engine.generation, done: false };
        let Engine { kernel, rates, bans, watcher, source, held, counters, mut names, control, .. } = engine;
        names.generation = policies;
        let on_interfaces = (rates, Arc::clone(&watcher.policy().interfaces));
        let follower = Follower::new(&config, kernel, on_interfaces, Arc::clone(&around.metrics))?;
        let state = State {
            config: config.clone(),
            source_sets: watcher.policy().source_sets,
            workloads: watcher.policy().workload_count,
            rate_counters: engine.rate_counters,
            policies,
            before: None,
        };
        let reloader = Arc::new(Reloader {
            around: around.clone(),
            generation: engine.generation,
            covering: follower.covering(),
            bans,
            counters,
            cannot: engine.cannot,
            state: Mutex::new(state),
        });
        let Reloader { counters, bans, .. } = &*reloader;
        let take_over = || counters.carry(before.as_ref().map(Predecessor::sums).unwrap_or_default());
        // Before the switch: whoever finds this generation in force knows what it is.
        take_over();
        reloader.write_down()?;
        if let Some(control) = &control {
            // Before it judges: none of its rules may take us for gone.
            sign_of_life(control, config.agent.stale_after_ns, &around.metrics);
            control.switch(engine.generation, trial)?;
        }
        let proven = start::prove(&config, engine.exec_lsm, &around.metrics).or_else(|error| {
            if let (Some(control), Some(before)) = (&control, &before) {
                control.switch(before.generation, None)?;
            }
            Err(error)
        })?;
        unfinished.done = true;
        if trial.is_none()
            && let Some(before) = &before
        {
            before.take_off();
        }
        // With what was counted meanwhile; now it counts nothing any more.
        take_over();
        reloader.keep_up(&reloader.state());
        let (left, fallback) = match before {
            Some(before) if trial.is_some() => (None, Some(before)),
            Some(before) => {
                Kept::remove(&around.run_dir, before.generation);
                // One of this process has its own end of the ring.
                let pins = around.pins.as_ref().filter(|_| relieved.is_none());
                (pins.and_then(|pins| Left::of(before, pins)), None)
            }
            None => (None, None),
        };
        if let Some(relieved) = relieved {
            counters.go_on_from(&relieved.counters);
        }
        let capabilities = [engine.capabilities, proven].concat();
        start::tell_capabilities(&config, policies, &capabilities, &around.metrics);
        around.metrics.attach(Arc::clone(counters) as Arc<_>);

        let stop = Arc::new(AtomicBool::new(false));
        let keeping = bans.as_ref().map(|bans| bans.keep_up(Arc::clone(&stop))).transpose()?;
        let watching = watcher.start(Arc::clone(counters), Arc::clone(&stop))?;
        let following = follower.start(Arc::clone(&stop))?;
        let proving = engine.canaries.start(Arc::clone(&stop))?;
        let threads = [Some(watching), following, keeping, Some(proving)].into_iter().flatten().collect();
        Ok(Self {
            source,
            held,
            names,
            reloader,
            found: engine.found,
            left,
            fallback,
            control,
            stale_after_ns: config.agent.stale_after_ns,
            stop,
            threads,
        })
    }

    /// Its counters.
    pub(super) fn counters(&self) -> &Arc<KernelCounters> {
        &self.reloader.counters
    }

    /// Ends its trial: it stays.
    ///
    /// # Errors
    /// When the time is over, or the kernel refuses.
    pub(super) fn settle(&mut self) -> Result<()> {
        let (Some(control), Some(before)) = (&self.control, &self.fallback) else {
            bail!("no policy is on trial")
        };
        control.confirm()?;
        before.take_off();
        self.reloader.keep_up(&self.reloader.state());
        Kept::remove(&self.reloader.around.run_dir, before.generation);
        self.fallback = None;
        Ok(())
    }

    /// Gives up its trial: the one before judges again, with what `relieved` holds.
    pub(super) fn give_up(&mut self, before: &Reloader, relieved: Relieved) -> Result<()> {
        let own = Arc::clone(&self.reloader);
        if let Some(control) = &self.control {
            control.switch(before.generation, None)?;
        }
        // What was counted is counted, whatever became of the policy.
        let mut carried = before.counters.carried();
        carried.add_ended(own.counters.own_sums(&self.names));
        before.counters.carry(carried);
        before.counters.go_on_from(&own.counters);
        if let Some(bans) = &own.bans {
            bans.save_now()?;
            bans.retire();
        }
        let suspended = own.covering.suspend();
        relieved.resume();
        if let Some(suspended) = suspended {
            suspended.hand_over();
        }
        if let Some(bans) = &before.bans {
            bans.take_up();
        }
        before.tell_in_force();
        self.stop_threads();
        forget(&own.around, own.generation);
        Ok(())
    }

    /// Says that the agent is alive.
    pub(super) fn beat(&self) {
        if let Some(control) = &self.control {
            let Reloader { around, .. } = &*self.reloader;
            sign_of_life(control, self.stale_after_ns, &around.metrics);
        }
    }

    /// Takes it out of the kernel, or leaves it there if it shall be kept, and ends what works for it.
    pub(super) fn end(&mut self) {
        // Nothing is to be refused from here on, and that is no failure.
        self.stop_threads();
        let Reloader { covering, around, generation, .. } = &*self.reloader;
        covering.end();
        if let Some(pins) = around.pins.as_ref().filter(|pins| !pins.keeps()) {
            pins.remove_all();
            Kept::remove(&around.run_dir, *generation);
        }
    }

    /// Ends what works for it, now that the next judges, and forgets its maps; on a thread that may block.
    pub(super) fn relieve(self, relieved: Relieved) {
        let reloader = Arc::clone(&self.reloader);
        self.leave(relieved);
        if let Some(pins) = &reloader.around.pins {
            pins.remove(reloader.generation);
        }
    }

    /// Ends what works for it, and leaves it where it is.
    pub(super) fn leave(mut self, relieved: Relieved) {
        relieved.hand_over();
        self.stop_threads();
    }

    fn stop_threads(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
