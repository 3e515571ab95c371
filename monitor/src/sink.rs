//! Where events and findings go.
//!
//! Each sink has one bounded queue and a thread that renders and writes, so that a slow disk or a stopped terminal
//! holds up nobody else. Each event offered to a sink is counted once: as delivered, or as lost with the reason.
//!
//! To add a sink: its file below `sink/` with an [`Output`], and its row in [`start`].

mod file;
mod stdout;
mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    config::{self, Format, Target},
    event::Event,
    metrics::{Counters, Loss, SinkCounters},
    render::Style,
};
use worker::{Message, Switches, Worker};

/// Events that a sink's queue holds. Full, with events of ordinary size, it takes about 50 MB; what comes while it is
/// full is lost, and counted as `queue_full`.
pub const QUEUE: usize = 65_536;

/// How long the sinks may take to write out their queues when the agent ends.
pub const DRAIN: Duration = Duration::from_secs(5);

/// What is written to. Only the sink's own thread uses it, so every call may block.
trait Output: Send {
    /// Writes some of the bytes, as [`io::Write::write`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits, for a second at most, until there is room again. Called after [`io::ErrorKind::WouldBlock`].
    fn wait(&mut self) {}

    /// Opens it anew, by the same name. If that fails, the old one goes on.
    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether after this error nothing will ever be written again.
    fn is_gone(&self, error: &io::Error) -> bool {
        let _ = error;
        false
    }
}

/// A sink to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What is written to.
    pub target: Target,
    /// How.
    pub format: Format,
    /// Whether every event is written, not only findings.
    pub events: bool,
}

impl From<&config::Sink> for Spec {
    fn from(sink: &config::Sink) -> Self {
        Self { target: sink.target.clone(), format: sink.format, events: sink.events }
    }
}

/// The sinks of the agent.
#[derive(Debug, Default)]
pub struct Sinks {
    sinks: Vec<Sink>,
}

#[derive(Debug)]
struct Sink {
    name: Arc<str>,
    events: bool,
    queue: mpsc::Sender<Message>,
    /// Events that went into the queue.
    queued: AtomicU64,
    switches: Arc<Switches>,
    counters: Arc<SinkCounters>,
    done: oneshot::Receiver<()>,
}

impl Sinks {
    /// Opens the sinks and starts their threads.
    ///
    /// # Errors
    /// If one can't be opened; the message names it and what to do.
    pub fn open(specs: impl IntoIterator<Item = Spec>, counters: &Counters) -> Result<Self> {
        let sinks = specs.into_iter().map(|spec| start(spec, counters)).collect::<Result<_>>()?;
        Ok(Self { sinks })
    }

    /// Offers an event to every sink that wants it. Never blocks.
    pub fn send(&self, event: &Arc<Event>) {
        for sink in &self.sinks {
            if sink.events || event.finding.is_some() {
                sink.send(Arc::clone(event));
            }
        }
    }

    /// Lets every sink open its file anew: what a log rotation asks for (`SIGHUP`). Doesn't wait.
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.switches.reopen.store(true, Relaxed);
            // Only to wake it: if the queue is full, the thread comes by the switch without it.
            let _ = sink.queue.try_send(Message::Wake);
        }
    }

    /// Lets the sinks write out their queues, for [`DRAIN`] at most; what remains is counted as lost.
    pub async fn shutdown(self) {
        self.shutdown_within(DRAIN).await;
    }

    async fn shutdown_within(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        // All queues end at the same time; then the waits overlap.
        let ending: Vec<_> = self.sinks.into_iter().map(Sink::end).collect();
        for sink in ending {
            sink.finish(deadline).await;
        }
    }
}

impl Sink {
    fn send(&self, event: Arc<Event>) {
        match self.queue.try_send(Message::Event(event)) {
            Ok(()) => {
                self.queued.fetch_add(1, Relaxed);
            }
            Err(mpsc::error::TrySendError::Full(_)) => self.counters.lost(Loss::QueueFull, 1),
            Err(mpsc::error::TrySendError::Closed(_)) => self.counters.lost(Loss::Closed, 1),
        }
    }

    /// Ends the queue: its thread writes what is in it, and ends.
    fn end(self) -> Ending {
        let Self { name, queued, switches, counters, done, .. } = self;
        Ending { name, queued: queued.into_inner(), switches, counters, done }
    }
}

/// A sink whose queue gets no more events.
struct Ending {
    name: Arc<str>,
    queued: u64,
    switches: Arc<Switches>,
    counters: Arc<SinkCounters>,
    done: oneshot::Receiver<()>,
}

impl Ending {
    async fn finish(self, deadline: Instant) {
        // An error means that the thread is gone, which is what is waited for.
        if timeout_at(deadline, self.done).await.is_ok() {
            return;
        }
        let settled = self.switches.abandon();
        let left = self.queued.saturating_sub(settled);
        self.counters.lost(Loss::Shutdown, left);
        tracing::warn!("sink {} did not write its queue in time; {left} events are lost", self.name);
    }
}

fn start(spec: Spec, counters: &Counters) -> Result<Sink> {
    let terminal = stdout::is_terminal();
    let (base, output, terminal): (_, Box<dyn Output>, _) = match spec.target {
        Target::Stdout => ("stdout", Box::new(stdout::Stdout::open()?), terminal),
        Target::File(path) => ("file", Box::new(file::AppendFile::open(path)?), false),
    };
    let style = match spec.format {
        Format::Json => Style::Json,
        Format::Ecs => Style::Ecs,
        Format::Auto if !terminal => Style::Json,
        Format::Auto | Format::Text => Style::Text { colour: terminal && stdout::wants_colour() },
    };
    spawn(base, output, style, spec.events, QUEUE, counters)
}

fn spawn(
    base: &'static str,
    output: Box<dyn Output>,
    style: Style,
    events: bool,
    capacity: usize,
    counters: &Counters,
) -> Result<Sink> {
    let (name, counters) = counters.add_sink(base);
    let (queue, receiver) = mpsc::channel(capacity);
    let (finished, done) = oneshot::channel();
    let switches = Arc::<Switches>::default();
    let worker =
        Worker::new(Arc::clone(&name), receiver, output, style, Arc::clone(&counters), Arc::clone(&switches));
    thread::Builder::new()
        .name(format!("sink-{name}"))
        .spawn(move || {
            worker.run();
            // Nobody waits for it unless the agent is ending.
            let _ = finished.send(());
        })
        .with_context(|| format!("can't start the thread of sink {name}"))?;
    Ok(Sink { name, events, queue, queued: AtomicU64::new(0), switches, counters, done })
}

#[cfg(test)]
mod tests;
