//! The thread of a sink that hands events to a service: in batches, again and again until the service takes them.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    backoff::Backoff,
    worker::{Message, Switches},
};
use crate::{
    event::Event,
    host::clock::since_boot_ns,
    metrics::{Loss, SinkCounters},
};

/// A service that takes events. Only the sink's own thread uses it, so every call may block, for some seconds at most.
pub(super) trait Remote: Send {
    /// Events that are sent together at most.
    fn batch(&self) -> usize;

    /// How long to wait for more before a batch that isn't full is sent.
    fn gather(&self) -> Duration {
        Duration::ZERO
    }

    /// Sends events. How many the service took, from the first on, and what ended it if it wasn't all.
    fn send(&mut self, events: &[Arc<Event>]) -> (usize, Result<(), Failure>);

    /// Looks anew at whatever was read from files.
    fn reopen(&mut self) {}
}

/// Why a service didn't take an event.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is away, or has too much to do: try again.
    Away(anyhow::Error),
    /// It will never take so many of the next events.
    Never(usize, Loss, anyhow::Error),
}

pub(super) struct RemoteWorker {
    pub name: Arc<str>,
    pub queue: mpsc::Receiver<Message>,
    pub remote: Box<dyn Remote>,
    pub counters: Arc<SinkCounters>,
    pub switches: Arc<Switches>,
    pub backoff: Backoff,
    /// Refusals are logged once, until something was taken again.
    pub refused: bool,
}

impl RemoteWorker {
    /// Until the queue has ended and is empty, or nobody waits any longer.
    pub fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(message) = self.queue.blocking_recv() {
            self.take(message, &mut batch);
            if !self.queue.is_closed() {
                thread::sleep(self.remote.gather());
            }
            while batch.len() < self.remote.batch()
                && let Ok(message) = self.queue.try_recv()
            {
                self.take(message, &mut batch);
            }
            self.deliver(&batch);
            batch.clear();
            if self.switches.abandoned() {
                return;
            }
        }
    }

    fn take(&mut self, message: Message, batch: &mut Vec<Arc<Event>>) {
        if let Message::Event(event) = message {
            self.counters.dequeue();
            batch.push(event);
        }
    }

    /// Sends a batch, as often as it takes.
    fn deliver(&mut self, mut batch: &[Arc<Event>]) {
        while !batch.is_empty() && !self.switches.abandoned() {
            if self.switches.reopen.swap(false, Relaxed) {
                self.remote.reopen();
            }
            let (taken, result) = self.remote.send(batch);
            let taken = taken.min(batch.len());
            let now = since_boot_ns();
            batch[..taken].iter().for_each(|event| self.counters.took(now.saturating_sub(event.boot_ns)));
            batch = &batch[taken..];
            if result.is_err() {
                self.counters.failed();
            }
            self.switches.settle(taken as u64, || self.counters.delivered(taken as u64));
            if taken > 0 {
                (self.refused, _) = (false, self.backoff.reset());
            }
            match result {
                Ok(()) if batch.is_empty() => self.is_back(),
                Ok(()) => {}
                Err(Failure::Away(error)) => self.wait(&error),
                Err(Failure::Never(count, reason, error)) => {
                    let count = count.clamp(1, batch.len().max(1)).min(batch.len());
                    batch = &batch[count..];
                    self.switches.settle(count as u64, || self.counters.lost(reason, count as u64));
                    self.is_back();
                    if !self.refused {
                        tracing::error!("sink {} lost {count} events: {error:#}", self.name);
                    }
                    self.refused = true;
                }
            }
        }
    }

    fn wait(&mut self, error: &anyhow::Error) {
        if self.switches.trouble().is_none() {
            tracing::error!(
                "sink {} can't send and tries again, for as long as its queue has room: {error:#}",
                self.name
            );
        }
        self.switches.set_trouble(Some(Loss::Unreachable));
        let Self { backoff, queue, switches, .. } = self;
        backoff.wait(|| queue.is_closed(), || switches.abandoned() || switches.reopen.load(Relaxed));
    }

    fn is_back(&mut self) {
        if self.switches.trouble().is_some() {
            tracing::info!("sink {} sends again", self.name);
            self.switches.set_trouble(None);
        }
        self.backoff.reset();
    }
}
