//! The last events and findings, kept in memory for whoever asks the running agent: `monitor events`, `monitor top` and the
//! web page.
//!
//! A ring of slots. The event path takes a slot's own lock for as long as a pointer is stored, whoever reads and however
//! slowly; a reader that is behind finds its slot taken by a later event, and how many it missed is the distance.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::event::Event;

/// Events that are kept; some 4 MB.
pub const EVENTS: usize = 8192;
/// Findings that are kept apart, so that no flood of events crowds them out.
pub const FINDINGS: usize = 1024;

/// The last events and findings.
#[derive(Debug)]
pub struct Recent {
    /// All of them.
    pub events: Ring,
    /// Findings alone.
    pub findings: Ring,
}

impl Default for Recent {
    fn default() -> Self {
        Self { events: Ring::new(EVENTS), findings: Ring::new(FINDINGS) }
    }
}

impl Recent {
    /// Keeps one. Never waits for a reader that reads slowly.
    pub fn keep(&self, event: &Arc<Event>) {
        self.events.push(event);
        if event.finding.is_some() {
            self.findings.push(event);
        }
    }
}

type Slot = Mutex<Option<(u64, Arc<Event>)>>;

/// The last so many events. One thread writes, any number read.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Slot]>,
    /// The number of the next event.
    next: AtomicU64,
}

/// What a reader finds.
#[derive(Debug)]
pub enum Found {
    /// The next event.
    Event(Arc<Event>),
    /// So many were overwritten before they were read.
    Missed(u64),
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self { slots: (0..capacity).map(|_| Slot::default()).collect(), next: AtomicU64::new(0) }
    }

    fn slot(&self, number: u64) -> &Slot {
        // The remainder is below a length.
        &self.slots[(number % self.slots.len() as u64) as usize]
    }

    fn push(&self, event: &Arc<Event>) {
        let number = self.next.load(Relaxed);
        let mut slot = self.slot(number).lock().unwrap_or_else(PoisonError::into_inner);
        let before = slot.replace((number, Arc::clone(event)));
        drop(slot);
        self.next.store(number + 1, Release);
        // Not under the lock: it may be the last one, which frees it.
        drop(before);
    }

    /// The number that the next event will have.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.next.load(Acquire)
    }

    /// The number of the oldest event that is kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.end().saturating_sub(self.slots.len() as u64)
    }

    /// What comes next for a reader that has read up to `cursor`, which moves on; `None` if nothing has come yet.
    pub fn read(&self, cursor: &mut u64) -> Option<Found> {
        let end = self.end();
        if *cursor >= end {
            return None;
        }
        let oldest = end.saturating_sub(self.slots.len() as u64);
        if *cursor < oldest {
            let missed = oldest - *cursor;
            *cursor = oldest;
            return Some(Found::Missed(missed));
        }
        let slot = self.slot(*cursor).lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some((number, event)) if number == cursor => {
                *cursor += 1;
                Some(Found::Event(Arc::clone(event)))
            }
            // Overwritten since.
            Some((number, _)) => {
                let missed = number - *cursor - self.slots.len() as u64 + 1;
                *cursor += missed;
                Some(Found::Missed(missed))
            }
            None => None,
        }
    }

    /// The last so many, the newest last.
    #[must_use]
    pub fn last(&self, most: usize) -> Vec<Arc<Event>> {
        let mut cursor = self.end().saturating_sub(most as u64);
        let mut found = Vec::new();
        let end = self.end();
        while cursor < end {
            match self.read(&mut cursor) {
                Some(Found::Event(event)) => found.push(event),
                Some(Found::Missed(_)) => {}
                None => break,
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn sample(boot_ns: u64) -> Arc<Event> {
        let mut event = samples::each_kind().remove(0);
        event.boot_ns = boot_ns;
        Arc::new(event)
    }

    /// Everything up to now: what was read, and how many were missed.
    fn drain(ring: &Ring, cursor: &mut u64) -> (Vec<u64>, u64) {
        let (mut read, mut missed) = (Vec::new(), 0);
        while let Some(found) = ring.read(cursor) {
            match found {
                Found::Event(event) => read.push(event.boot_ns),
                Found::Missed(more) => missed += more,
            }
        }
        (read, missed)
    }

    #[test]
    fn a_reader_in_time_reads_all_and_a_late_one_is_told_what_it_missed() {
        let ring = Ring::new(4);
        let (mut quick, mut slow) = (ring.end(), ring.end());
        for number in 0..10 {
            ring.push(&sample(number));
            assert_eq!(drain(&ring, &mut quick), (vec![number], 0));
        }
        assert_eq!(drain(&ring, &mut slow), (vec![6, 7, 8, 9], 6));
        assert_eq!(drain(&ring, &mut slow), (vec![], 0));
        assert_eq!(ring.start(), 6);
        assert_eq!(ring.last(2).iter().map(|event| event.boot_ns).collect::<Vec<_>>(), [8, 9]);
        assert_eq!(ring.last(100).len(), 4);
    }

    #[test]
    fn beside_a_writer_nothing_is_counted_twice_or_forgotten() {
        const COUNT: u64 = 50_000;
        let ring = Ring::new(64);
        let event = sample(0);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut cursor, mut total) = (0, 0);
                        while total < COUNT {
                            match ring.read(&mut cursor) {
                                Some(Found::Event(_)) => total += 1,
                                Some(Found::Missed(more)) => total += more,
                                None => std::thread::yield_now(),
                            }
                        }
                        (cursor, total)
                    })
                })
                .collect();
            (0..COUNT).for_each(|_| ring.push(&event));
            for reader in readers {
                assert_eq!(reader.join().unwrap(), (COUNT, COUNT));
            }
        });
    }
}
