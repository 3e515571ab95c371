//! Where events and findings go.
//!
//! Each sink has one bounded queue and a thread that renders and writes, so that a slow disk or a stopped terminal
//! holds up nobody else. Each event offered to a sink is counted once: as delivered, or as lost with the reason.
//!
//! Two kinds: an [`Output`] is a place for bytes (a file, standard output); a [`remote::Remote`] is a service that may be away
//! and is tried again, with growing pauses, while the queue takes what comes.
//!
//! To add a sink: its file below `sink/` with one of both, and its row in [`start`].

mod backoff;
mod file;
mod fold;
mod http;
mod journald;
mod level;
mod remote;
mod stdout;
mod syslog;
mod tls;
mod worker;

use std::{
    hash::RandomState,
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
    config::{self, Format, HttpKind, Target},
    event::Event,
    metrics::{Counters, Loss, SinkCounters},
    render::Style,
};
use backoff::Backoff;
use fold::Folder;
use remote::{Remote, RemoteWorker};
use worker::{Message, Switches, Worker};

/// Events that a sink's queue holds; the last eighth of it is for findings. Full, with events of ordinary size, it takes
/// about 50 MB; what comes while it is full is lost, and counted as `queue_full`.
pub const QUEUE: usize = 65_536;

/// One part in so many of a queue is for findings alone.
const FOR_FINDINGS: usize = 8;

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

    /// Whether what can't be written is kept and tried again, rather than lost.
    fn is_patient(&self) -> bool {
        false
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
    /// How long findings that say the same are gathered; zero: never.
    pub fold: Duration,
}

impl From<&config::Sink> for Spec {
    fn from(sink: &config::Sink) -> Self {
        Self { target: sink.target.clone(), format: sink.format, events: sink.events, fold: sink.fold }
    }
}

/// The sinks of the agent.
#[derive(Debug, Default)]
pub struct Sinks {
    sinks: Vec<Sink>,
    /// Makes out which findings say the same.
    keyed: RandomState,
}

#[derive(Debug)]
struct Sink {
    name: Arc<str>,
    events: bool,
    folder: Option<Folder>,
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
        Ok(Self { sinks, keyed: RandomState::new() })
    }

    /// Offers an event to every sink that wants it. Never blocks.
    pub fn send(&mut self, event: &Arc<Event>) {
        let folds = event.finding.is_some() && self.sinks.iter().any(|sink| sink.folder.is_some());
        let likeness = if folds { event.likeness(&self.keyed) } else { None };
        for sink in &mut self.sinks {
            if sink.events || event.finding.is_some() {
                sink.offer(event, likeness);
            }
        }
    }

    /// Tells the summaries that are due. To be called each second or so.
    pub fn tick(&mut self) {
        let now = std::time::Instant::now();
        for sink in &mut self.sinks {
            let due = sink.folder.as_mut().map(|folder| folder.due(now)).unwrap_or_default();
            due.into_iter().for_each(|summary| sink.send(summary));
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
        // Before, for its thread may be faster.
        self.counters.enqueue();
        let sent = if event.finding.is_none() && self.queue.capacity() <= self.kept_for_findings() {
            Err(mpsc::error::TrySendError::Full(Message::Event(event)))
        } else {
            self.queue.try_send(Message::Event(event))
        };
        if sent.is_err() {
            self.counters.dequeue();
        }
        match sent {
            Ok(()) => {
                self.queued.fetch_add(1, Relaxed);
            }
            // If nothing can be written that is why the queue is full.
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.lost(self.switches.trouble().unwrap_or(Loss::QueueFull), 1);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.counters.lost(Loss::Closed, 1),
        }
    }

    /// Places of the queue that ordinary events don't get.
    fn kept_for_findings(&self) -> usize {
        self.queue.max_capacity() / FOR_FINDINGS
    }

    /// Takes an event for the queue, or for a summary.
    fn offer(&mut self, event: &Arc<Event>, likeness: Option<u64>) {
        if let (Some(folder), Some(likeness)) = (&mut self.folder, likeness)
            && !folder.is_new(likeness, event)
        {
            self.counters.folded();
            return;
        }
        self.send(Arc::clone(event));
    }

    /// Ends the queue: its thread writes what is in it, and ends.
    fn end(mut self) -> Ending {
        let rest = self.folder.take().map(|mut folder| folder.rest()).unwrap_or_default();
        rest.into_iter().for_each(|summary| self.send(summary));
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

/// What a sink's thread works for.
enum Work {
    Bytes(Box<dyn Output>, Style),
    Events(Box<dyn Remote>),
}

fn start(spec: Spec, counters: &Counters) -> Result<Sink> {
    let Spec { target, format, events, fold } = spec;
    let terminal = target == Target::Stdout && stdout::is_terminal();
    let style = match format {
        Format::Json => Style::Json,
        Format::Ecs => Style::Ecs,
        Format::Auto if !terminal => Style::Json,
        Format::Auto | Format::Text => Style::Text { colour: terminal && stdout::wants_colour() },
    };
    let bytes = |output| Work::Bytes(output, style);
    let (base, work) = match target {
        Target::Stdout => ("stdout", bytes(Box::new(stdout::Stdout::open()?))),
        Target::File(sink) => ("file", bytes(Box::new(file::AppendFile::open(sink)?))),
        Target::Journald(path) => ("journald", Work::Events(Box::new(journald::Journald::new(path, style)))),
        Target::Syslog(to) => ("syslog", Work::Events(Box::new(syslog::Syslog::new(to, style)?))),
        Target::Http { kind, url, token } => {
            let base = match kind {
                HttpKind::Webhook => "webhook",
                HttpKind::Alertmanager => "alertmanager",
                HttpKind::Otlp => "otlp",
            };
            (base, Work::Events(Box::new(http::Http::new(kind, url, token, style)?)))
        }
    };
    let mut sink = spawn(base, work, events, QUEUE, counters)?;
    sink.folder = (!fold.is_zero()).then(|| Folder::new(fold));
    Ok(sink)
}

fn spawn(base: &'static str, work: Work, events: bool, capacity: usize, counters: &Counters) -> Result<Sink> {
    let (name, counters) = counters.add_sink(base);
    counters.set_capacity(capacity);
    let (sender, queue) = mpsc::channel(capacity);
    let (finished, done) = oneshot::channel();
    let switches = Arc::<Switches>::default();
    let shared = (Arc::clone(&name), Arc::clone(&counters), Arc::clone(&switches));
    let work = move || {
        let (name, counters, switches) = shared;
        match work {
            Work::Bytes(output, style) => Worker::new(name, queue, output, style, counters, switches).run(),
            Work::Events(remote) => {
                let backoff = Backoff::default();
                RemoteWorker { name, queue, remote, counters, switches, backoff, refused: false }.run();
            }
        }
        // Nobody waits for it unless the agent is ending.
        let _ = finished.send(());
    };
    let thread = thread::Builder::new().name(format!("sink-{name}")).spawn(work);
    thread.with_context(|| format!("can't start the thread of sink {name}"))?;
    let queued = AtomicU64::new(0);
    Ok(Sink { name, events, folder: None, queue: sender, queued, switches, counters, done })
}

#[cfg(test)]
mod tests;
