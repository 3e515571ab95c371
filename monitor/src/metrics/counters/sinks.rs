//! What a sink counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::histogram::{Histogram, Latency};

/// What a sink counts: each event offered to it ends up as delivered, or as lost for one reason.
#[derive(Debug, Default)]
pub struct SinkCounters {
    delivered: AtomicU64,
    folded: AtomicU64,
    lost: [AtomicU64; Loss::ALL.len()],
    bytes: AtomicU64,
    errors: AtomicU64,
    capacity: AtomicU64,
    queued: AtomicU64,
    most_queued: AtomicU64,
    latency: Latency,
}

/// Why a sink lost an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The sink's queue was full.
    QueueFull,
    /// Writing failed.
    IoError,
    /// The disk, or the quota, was full.
    DiskFull,
    /// The reader had gone away and the sink was closed.
    Closed,
    /// Still in the queue when the agent had to end.
    Shutdown,
    /// The queue was full because the receiver is away.
    Unreachable,
    /// The receiver said that it will never take it.
    Rejected,
    /// It is larger than the receiver, or the way there, takes.
    TooLarge,
}

impl Loss {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::IoError,
        Self::DiskFull,
        Self::Closed,
        Self::Shutdown,
        Self::Unreachable,
        Self::Rejected,
        Self::TooLarge,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::IoError => "io_error",
            Self::DiskFull => "disk_full",
            Self::Closed => "closed",
            Self::Shutdown => "shutdown",
            Self::Unreachable => "unreachable",
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
        }
    }
}

impl SinkCounters {
    /// Counts a finding that was taken for a summary.
    pub fn folded(&self) {
        self.folded.fetch_add(1, Relaxed);
    }

    /// How many were.
    #[must_use]
    pub fn folded_total(&self) -> u64 {
        self.folded.load(Relaxed)
    }

    /// Counts events that were written.
    pub fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Relaxed);
    }

    /// Counts events that were not.
    pub fn lost(&self, reason: Loss, count: u64) {
        self.lost[reason as usize].fetch_add(count, Relaxed);
    }

    /// Counts bytes that were written.
    pub fn wrote(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a write that failed.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Counts how long it took from the hook until an event was written, nanoseconds.
    pub fn took(&self, ns: u64) {
        self.latency.observe(ns);
    }

    /// Tells how many events the queue holds.
    pub fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity as u64, Relaxed);
    }

    /// An event is put into the queue.
    pub fn enqueue(&self) {
        let queued = self.queued.fetch_add(1, Relaxed) + 1;
        self.most_queued.fetch_max(queued.min(self.capacity()), Relaxed);
    }

    /// An event was taken out of the queue, or didn't get in.
    pub fn dequeue(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    /// How many events were written.
    #[must_use]
    pub fn delivered_total(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// How many were lost for this reason.
    #[must_use]
    pub fn lost_total(&self, reason: Loss) -> u64 {
        self.lost[reason as usize].load(Relaxed)
    }

    /// How many bytes were written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// How many writes failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// How many events the queue holds.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Relaxed)
    }

    /// How many events are in the queue.
    #[must_use]
    pub fn queued(&self) -> u64 {
        // One that is about to be refused is in it for a moment.
        self.queued.load(Relaxed).min(self.capacity())
    }

    /// The most events that were in it at a time.
    #[must_use]
    pub fn most_queued(&self) -> u64 {
        self.most_queued.load(Relaxed)
    }

    /// How long events took.
    pub(in crate::metrics) fn latency(&self) -> Histogram {
        self.latency.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_the_reasons_are_their_places() {
        assert!(Loss::ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index));
    }

    #[test]
    fn the_high_water_mark_stays() {
        let sink = SinkCounters::default();
        sink.set_capacity(2);
        for _ in 0..3 {
            sink.enqueue();
        }
        assert_eq!((sink.queued(), sink.most_queued()), (2, 2));
        for _ in 0..3 {
            sink.dequeue();
        }
        assert_eq!((sink.queued(), sink.most_queued()), (0, 2));
    }
}
