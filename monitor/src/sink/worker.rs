//! The thread of a sink: renders what is in the queue, and writes it in batches.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc;

use super::Output;
use crate::{
    event::Event,
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

    fn abandoned(&self) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).abandoned
    }

    fn settle(&self, events: u64, count: impl FnOnce()) {
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
}

/// Lines to be written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, event: &Event, style: Style) {
        style.line(event, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
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
            if self.switches.reopen.swap(false, Relaxed) {
                match self.output.reopen() {
                    Ok(()) => self.torn = false,
                    Err(error) => {
                        tracing::error!("sink {} keeps writing to the old file: {error:#}", self.name)
                    }
                }
            }
            if self.flush().is_break() {
                return self.close();
            }
        }
    }

    fn take(&mut self, message: &Message) {
        if let Message::Event(event) = message {
            self.batch.push(event, self.style);
        }
    }

    /// Writes the batch, and counts each of its lines.
    fn flush(&mut self) -> std::ops::ControlFlow<()> {
        if self.batch.ends.is_empty() {
            return std::ops::ControlFlow::Continue(());
        }
        let (written, error) = self.write();
        let delivered = self.batch.ends.partition_point(|end| *end <= written) as u64;
        let lost = self.batch.ends.len() as u64 - delivered;
        let gone = error.as_ref().is_some_and(|error| self.output.is_gone(error));
        let reason =
            error.as_ref().map_or(Loss::IoError, |error| if gone { Loss::Closed } else { reason(error) });
        self.switches.settle(delivered + lost, || {
            self.counters.delivered(delivered);
            self.counters.lost(reason, lost);
        });
        self.batch.clear();
        self.log(error, gone);
        if gone { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    }

    /// How many bytes of the batch could be written, and what ended it early.
    fn write(&mut self) -> (usize, Option<io::Error>) {
        if self.torn {
            let (_, error) = write(&mut *self.output, b"\n", &self.switches);
            if error.is_some() {
                return (0, error);
            }
        }
        let (written, error) = write(&mut *self.output, &self.batch.bytes, &self.switches);
        self.torn = written > 0 && self.batch.bytes.get(written - 1) != Some(&b'\n');
        (written, error)
    }

    fn log(&mut self, error: Option<io::Error>, gone: bool) {
        let failed_before = mem::replace(&mut self.failing, error.is_some());
        match error {
            Some(error) if gone => tracing::warn!("sink {} is closed: {error}; the agent goes on", self.name),
            Some(error) if !failed_before => {
                tracing::error!("sink {} can't write: {error}; what comes until it can is lost", self.name);
            }
            None if failed_before => tracing::info!("sink {} writes again", self.name),
            _ => {}
        }
    }

    /// Counts what can't be written any more.
    fn close(mut self) {
        self.queue.close();
        while let Some(message) = self.queue.blocking_recv() {
            if matches!(message, Message::Event(_)) {
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
