//! The thread of a sink: renders what is in the queue, and writes it in batches.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc;

use super::{Output, backoff::Backoff};
use crate::{
    event::Event,
    host::clock::since_boot_ns,
    metrics::{Loss, SinkCounters},
    render::Style,
};

/// A batch is written when it has so many bytes, or the queue is empty.
const BATCH: usize = 64 * 1024;

/// What is in the queue of a sink.
#[derive(Debug)]
pub(super) enum Message {
    Event(Arc<Event>),
    /// Look at the switches.
    Wake,
}

/// What a sink and its thread tell each other past the queue.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// The output is to be opened anew.
    pub reopen: AtomicBool,
    /// Why nothing can be written at the moment: 1 + the index in [`Loss::ALL`], 0 if it can.
    trouble: AtomicU8,
    /// Events counted so far, until nobody listens any more.
    settled: Mutex<Settled>,
}

#[derive(Debug, Default)]
struct Settled {
    events: u64,
    abandoned: bool,
}

impl Switches {
    /// From now on the thread counts nothing; how many of the queued events it has counted.
    pub fn abandon(&self) -> u64 {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.abandoned = true;
        settled.events
    }

    /// Why nothing can be written at the moment: what finds the queue full is lost for this reason.
    pub fn trouble(&self) -> Option<Loss> {
        Loss::ALL.get(usize::from(self.trouble.load(Relaxed)).wrapping_sub(1)).copied()
    }

    pub fn set_trouble(&self, reason: Option<Loss>) {
        let index = reason.and_then(|reason| Loss::ALL.iter().position(|known| *known == reason));
        self.trouble.store(index.map_or(0, |index| index as u8 + 1), Relaxed);
    }

    /// Whether nobody waits for the thread any longer.
    pub fn abandoned(&self) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).abandoned
    }

    /// Counts events, unless somebody else has counted them by now.
    pub fn settle(&self, events: u64, count: impl FnOnce()) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if !settled.abandoned {
            settled.events += events;
            count();
        }
    }
}

pub(super) struct Worker {
    name: Arc<str>,
    queue: mpsc::Receiver<Message>,
    output: Box<dyn Output>,
    style: Style,
    counters: Arc<SinkCounters>,
    switches: Arc<Switches>,
    batch: Batch,
    /// Only a part of the last line was written: it is to be ended first, so that it doesn't spoil the next one.
    torn: bool,
    /// The last write failed: that is logged once, not for each batch.
    failing: bool,
    backoff: Backoff,
}

/// Lines to be written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// When what each line tells of happened, nanoseconds since boot.
    times: Vec<u64>,
}

impl Batch {
    fn push(&mut self, event: &Event, style: Style) {
        style.line(event, &mut self.bytes);
        self.ends.push(self.bytes.len());
        self.times.push(event.boot_ns);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.times.clear();
    }
}

impl Worker {
    pub fn new(
        name: Arc<str>,
        queue: mpsc::Receiver<Message>,
        output: Box<dyn Output>,
        style: Style,
        counters: Arc<SinkCounters>,
        switches: Arc<Switches>,
    ) -> Self {
        Self {
            name,
            queue,
            output,
            style,
            counters,
            switches,
            batch: Batch::default(),
            torn: false,
            failing: false,
            backoff: Backoff::default(),
        }
    }

    /// Until the queue has ended and is empty, or the output is gone.
    pub fn run(mut self) {
        while let Some(message) = self.queue.blocking_recv() {
            self.take(&message);
            while self.batch.bytes.len() < BATCH
                && let Ok(message) = self.queue.try_recv()
            {
                self.take(&message);
            }
            self.reopen();
            if self.flush().is_break() {
                return self.close();
            }
        }
    }

    /// Opens the output anew, if that was asked for. Whether it is another one now.
    fn reopen(&mut self) -> bool {
        if !self.switches.reopen.swap(false, Relaxed) {
            return false;
        }
        match self.output.reopen() {
            Ok(()) => {
                self.torn = false;
                true
            }
            Err(error) => {
                tracing::error!("sink {} keeps writing to the old file: {error:#}", self.name);
                false
            }
        }
    }

    fn take(&mut self, message: &Message) {
        if let Message::Event(event) = message {
            self.counters.dequeue();
            self.batch.push(event, self.style);
        }
    }

    /// Writes the batch, and counts each of its lines.
    fn flush(&mut self) -> std::ops::ControlFlow<()> {
        if self.batch.ends.is_empty() {
            return std::ops::ControlFlow::Continue(());
        }
        let (written, error) = self.write_patiently();
        let delivered = self.batch.ends.partition_point(|end| *end <= written) as u64;
        let lost = self.batch.ends.len() as u64 - delivered;
        let gone = error.as_ref().is_some_and(|error| self.output.is_gone(error));
        let reason =
            error.as_ref().map_or(Loss::IoError, |error| if gone { Loss::Closed } else { reason(error) });
        self.switches.settle(delivered + lost, || {
            self.counters.delivered(delivered);
            self.counters.lost(reason, lost);
        });
        self.counters.wrote(written as u64);
        if error.is_some() {
            self.counters.failed();
        }
        let now = since_boot_ns();
        let delivered = self.batch.times.iter().take(delivered as usize);
        delivered.for_each(|then| self.counters.took(now.saturating_sub(*then)));
        self.batch.clear();
        self.log(error, gone);
        if gone { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    }

    /// Writes the batch; where it is worth it, again and again until there is room.
    fn write_patiently(&mut self) -> (usize, Option<io::Error>) {
        let mut done = 0;
        loop {
            let (written, error) = self.write(done);
            let Some(error) = error else { return (written, None) };
            if !self.output.is_patient() || self.switches.abandoned() {
                return (written, Some(error));
            }
            self.counters.failed();
            self.switches.set_trouble(Some(reason(&error)));
            self.log_failure(&error);
            let Self { backoff, queue, switches, .. } = self;
            backoff.wait(|| queue.is_closed(), || switches.abandoned() || switches.reopen.load(Relaxed));
            done = if self.reopen() {
                // What the old file has only a part of goes to the new one as a whole.
                let whole = self.batch.ends.partition_point(|end| *end <= written);
                whole.checked_sub(1).map_or(0, |last| self.batch.ends[last])
            } else {
                self.torn = false;
                written
            };
        }
    }

    /// How many bytes of the batch are written, if so many are already, and what ended it early.
    fn write(&mut self, done: usize) -> (usize, Option<io::Error>) {
        if self.torn {
            let (_, error) = write(&mut *self.output, b"\n", &self.switches);
            if error.is_some() {
                return (done, error);
            }
        }
        let (written, error) = write(&mut *self.output, &self.batch.bytes[done..], &self.switches);
        self.torn = written > 0 && self.batch.bytes.get(done + written - 1) != Some(&b'\n');
        (done + written, error)
    }

    fn log(&mut self, error: Option<io::Error>, gone: bool) {
        match error {
            Some(error) if gone => tracing::warn!("sink {} is closed: {error}; the agent goes on", self.name),
            Some(error) => self.log_failure(&error),
            None => {
                if mem::replace(&mut self.failing, false) {
                    tracing::info!("sink {} writes again", self.name);
                }
                self.switches.set_trouble(None);
                self.backoff.reset();
            }
        }
    }

    fn log_failure(&mut self, error: &io::Error) {
        if !mem::replace(&mut self.failing, true) {
            let until = if self.output.is_patient() { "its queue is full" } else { "it can" };
            let what = if self.output.is_patient() { "what comes when" } else { "what comes until" };
            tracing::error!("sink {} can't write: {error}; {what} {until} is lost", self.name);
        }
    }

    /// Counts what can't be written any more.
    fn close(mut self) {
        self.queue.close();
        while let Some(message) = self.queue.blocking_recv() {
            if matches!(message, Message::Event(_)) {
                self.counters.dequeue();
                self.switches.settle(1, || self.counters.lost(Loss::Closed, 1));
            }
        }
    }
}

fn write(output: &mut dyn Output, bytes: &[u8], switches: &Switches) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !switches.abandoned() => output.wait(),
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

fn reason(error: &io::Error) -> Loss {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Loss::DiskFull,
        _ => Loss::IoError,
    }
}
