//! One generation at work: from the moment that it judges until the next one does.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{MapData, RingBuf};
use monitor_common::event::{Record, Unreadable, held::Held};
use tokio::sync::mpsc::Receiver;

use super::{
    bans::Bans,
    counters::{KernelCounters, Sums},
    interfaces::{Covering, Follower, Suspended},
    prepare::Ground,
    reload::{Reloader, State},
    start::{self, Engine, Surroundings},
    succession::{Kept, Predecessor},
};
use crate::{
    config::Config,
    host::processes::Found,
    kernel::{control::Control, pins::Pins},
    pipeline::source::Source,
    policy::Names,
};

/// A generation that judges.
pub(super) struct Generation {
    /// Its number.
    pub(super) number: u64,
    /// Its end of the ring.
    pub(super) source: Source,
    /// What its watcher finds.
    pub(super) held: Receiver<Held>,
    /// The names of its policy.
    pub(super) names: Names,
    /// Its counters.
    pub(super) counters: Arc<KernelCounters>,
    /// Bans; none without a rate limit.
    pub(super) bans: Option<Arc<Bans>>,
    /// Changes its policy.
    pub(super) reloader: Arc<Reloader>,
    /// Processes that are older.
    pub(super) found: Vec<Found>,
    /// What a generation left whose agent had ended.
    pub(super) left: Option<Left>,
    /// The one that judges again if this one isn't confirmed.
    fallback: Option<Predecessor>,
    control: Option<Arc<Control>>,
    covering: Covering,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pins: Option<Arc<Pins>>,
}

/// What is needed of a generation to hand things back to it.
pub(super) struct Handle {
    number: u64,
    counters: Arc<KernelCounters>,
    bans: Option<Arc<Bans>>,
    reloader: Arc<Reloader>,
}

/// What a generation left whose agent had ended.
pub(super) struct Left {
    ring: RingBuf<MapData>,
    names: Option<Names>,
    alone: Duration,
    pins: Arc<Pins>,
    generation: u64,
}

/// A generation that another takes over from, in the same process.
pub(super) struct Relieved {
    covering: Covering,
    suspended: Option<Suspended>,
    counters: Arc<KernelCounters>,
}

/// Takes what was begun out of the kernel unless it came to its end.
struct Unfinished<'a> {
    pins: Option<&'a Arc<Pins>>,
    generation: u64,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(pins) = self.pins {
            pins.remove(self.generation);
        }
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
        let mut unfinished = Unfinished { pins: around.pins.as_ref(), generation: engine.generation };
        let Engine { kernel, rates, bans, watcher, source, held, counters, mut names, .. } = engine;
        names.generation = policies;
        let policy = watcher.policy();
        let on_interfaces = (rates, Arc::clone(&policy.interfaces));
        let (source_sets, workloads) = (policy.source_sets, policy.workload_count);
        let follower = Follower::new(&config, kernel, on_interfaces, Arc::clone(&around.metrics))?;
        let covering = follower.covering();

        let keep = |carried: &Sums| -> Result<()> {
            if around.pins.is_none() {
                return Ok(());
            }
            let number = (engine.generation, policies);
            Kept::new(number, &config, workloads, &engine.rate_counters, carried)?.write(&around.run_dir)
        };
        // Before the switch: whoever finds this generation in force knows what it is.
        keep(&before.as_ref().map(Predecessor::sums).unwrap_or_default())?;
        if let Some(control) = &engine.control {
            control.switch(engine.generation, trial.map(|trial| trial.as_nanos() as u64))?;
            control.beat();
        }
        let proven = match start::prove(&config, engine.exec_lsm, &around.metrics) {
            Ok(proven) => proven,
            Err(error) => {
                if let (Some(control), Some(before)) = (&engine.control, &before) {
                    control.switch(before.generation, None)?;
                }
                Kept::remove(&around.run_dir, engine.generation);
                return Err(error);
            }
        };
        unfinished.pins = None;
        let (left, fallback) = match (before, trial) {
            (Some(before), Some(_)) => {
                // It counts nothing while it doesn't judge.
                counters.carry(before.sums());
                (None, Some(before))
            }
            (Some(before), None) => (retire(before, relieved, around, &counters, keep)?, None),
            (None, _) => (None, None),
        };
        if let Some(relieved) = relieved {
            counters.go_on_from(&relieved.counters);
        }
        let capabilities = [engine.capabilities, proven].concat();
        start::tell_capabilities(&config, policies, &capabilities, &around.metrics);
        around.metrics.attach(Arc::clone(&counters) as Arc<_>);

        let stop = Arc::new(AtomicBool::new(false));
        let keeping = bans.as_ref().map(|bans| bans.keep_up(Arc::clone(&stop))).transpose()?;
        let watching = watcher.start(Arc::clone(&counters), Arc::clone(&stop))?;
        let following = follower.start(Arc::clone(&stop))?;
        let proving = engine.canaries.start(Arc::clone(&stop))?;
        let threads = [Some(watching), following, keeping, Some(proving)].into_iter().flatten().collect();
        let state = State {
            config,
            source_sets,
            workloads,
            rate_counters: engine.rate_counters,
            policies,
            before: None,
        };
        let reloader = Arc::new(Reloader {
            around: around.clone(),
            generation: engine.generation,
            covering: covering.clone(),
            bans: bans.clone(),
            counters: Arc::clone(&counters),
            cannot: engine.cannot,
            state: Mutex::new(state),
        });
        Ok(Self {
            number: engine.generation,
            source,
            held,
            names,
            counters,
            bans,
            reloader,
            found: engine.found,
            left,
            fallback,
            control: engine.control,
            covering,
            stop,
            threads,
            pins: around.pins.clone(),
        })
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
        self.counters.carry(before.sums());
        Kept::remove(&self.reloader.around.run_dir, before.generation);
        self.fallback = None;
        self.reloader.write_down()
    }

    /// What another needs to hand things back to this one.
    pub(super) fn handle(&self) -> Handle {
        Handle {
            number: self.number,
            counters: Arc::clone(&self.counters),
            bans: self.bans.clone(),
            reloader: Arc::clone(&self.reloader),
        }
    }

    /// Gives up its trial: the one before judges again, with what `relieved` holds.
    pub(super) fn give_up(&mut self, before: &Handle, relieved: Relieved) -> Result<()> {
        if let Some(control) = &self.control {
            control.switch(before.number, None)?;
        }
        // What was counted is counted, whatever became of the policy.
        let mut carried = self.counters.own_sums();
        let earlier = before.counters.carried();
        carried.decisions.extend(earlier.decisions);
        carried.databases.extend(earlier.databases);
        carried.traffic.extend(earlier.traffic);
        before.counters.carry(carried);
        before.counters.go_on_from(&self.counters);
        if let Some(bans) = &self.bans {
            bans.save_now()?;
            bans.retire();
        }
        let suspended = self.covering.suspend();
        relieved.resume();
        if let Some(suspended) = suspended {
            suspended.hand_over();
        }
        if let Some(bans) = &before.bans {
            bans.take_up();
        }
        before.reloader.tell_in_force();
        before.reloader.around.metrics.attach(Arc::clone(&before.counters) as Arc<_>);
        self.stop.store(true, Relaxed);
        self.join();
        if let Some(pins) = &self.pins {
            pins.remove(self.number);
        }
        Kept::remove(&self.reloader.around.run_dir, self.number);
        Ok(())
    }

    /// Says that the agent is alive.
    pub(super) fn beat(&self) {
        if let Some(control) = &self.control {
            control.beat();
        }
    }

    /// Takes it out of the kernel, or leaves it there if it shall be kept, and ends what works for it.
    pub(super) fn end(&mut self) {
        // Nothing is to be refused from here on, and that is no failure.
        self.stop.store(true, Relaxed);
        self.join();
        self.covering.end();
        if let Some(pins) = self.pins.as_ref().filter(|pins| !pins.keeps()) {
            pins.remove_all();
            Kept::remove(&self.reloader.around.run_dir, self.number);
        }
    }

    /// Ends what works for it, now that the next judges, and forgets its maps; on a thread that may block.
    pub(super) fn relieve(mut self, relieved: Relieved) {
        self.stop.store(true, Relaxed);
        if let Some(suspended) = relieved.suspended {
            suspended.hand_over();
        }
        self.join();
        if let Some(pins) = &self.pins {
            pins.remove(self.number);
        }
    }

    /// Ends what works for it, and leaves it where it is.
    pub(super) fn leave(mut self, relieved: Relieved) {
        self.stop.store(true, Relaxed);
        if let Some(suspended) = relieved.suspended {
            suspended.hand_over();
        }
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

/// Takes the generation before off its hooks, and what it counted over.
fn retire(
    before: Predecessor,
    relieved: Option<&Relieved>,
    around: &Surroundings,
    counters: &KernelCounters,
    keep: impl Fn(&Sums) -> Result<()>,
) -> Result<Option<Left>> {
    before.take_off();
    let sums = before.sums();
    keep(&sums)?;
    counters.carry(sums);
    Kept::remove(&around.run_dir, before.generation);
    let Some(pins) = around.pins.as_ref().filter(|_| relieved.is_none()) else { return Ok(None) };
    let ring = match before.ring() {
        Ok(ring) => ring,
        Err(error) => {
            tracing::warn!("what happened without an agent can't be told: {error:#}");
            pins.remove(before.generation);
            return Ok(None);
        }
    };
    let (alone, generation) = (before.alone(), before.generation);
    let names = before.known.map(|known| known.names);
    Ok(Some(Left { ring, names, alone, pins: Arc::clone(pins), generation }))
}

impl Left {
    /// Tells what happened without an agent: `each` gets a record and the names of the policy it was made under. Whoever
    /// reads them must have the names of that policy, so this comes before anything else is told.
    pub(super) fn tell(mut self, now: &Names, mut each: impl FnMut(Result<Record<'_>, Unreadable>, &Names)) {
        let names = self.names.as_ref().unwrap_or(now);
        let mut count = 0_u64;
        while let Some(item) = self.ring.next() {
            each(Record::read(&item), names);
            count += 1;
        }
        let seconds = self.alone.as_secs();
        tracing::warn!(
            "what was in force went on without an agent for {seconds} s; {count} events of that time are told now, and \
             monitor_events_lost_total says how many there was no room for"
        );
        self.pins.remove(self.generation);
    }
}

impl Relieved {
    /// Makes room for the next: what covers interfaces lets go of them while the next begins.
    pub(super) fn new(covering: &Covering, counters: &Arc<KernelCounters>) -> Self {
        Self { covering: covering.clone(), suspended: covering.suspend(), counters: Arc::clone(counters) }
    }

    /// The next didn't come: goes on as before.
    pub(super) fn resume(self) {
        if let Some(suspended) = self.suspended {
            self.covering.resume(suspended);
        }
    }
}

/// The next generation, and what it is the next of.
pub(super) struct Next {
    pub(super) generation: Generation,
    pub(super) relieved: Relieved,
    /// How long it is on trial.
    pub(super) trial: Option<Duration>,
}

impl Next {
    /// Begins it.
    ///
    /// # Errors
    /// As [`Generation::begin`].
    pub(super) fn begin(
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
