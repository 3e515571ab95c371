//! Takes records off the ring.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use monitor_common::event::{Record, Unreadable};
use tokio::io::{Interest, unix::AsyncFd};

/// Records that are handled before other tasks get their turn.
const BATCH: usize = 1024;

/// How long records gather: at a million events a second of 300 bytes each, they fill a third of the ring.
const GATHER: Duration = Duration::from_millis(10);

/// The agent's end of the ring.
pub struct Source {
    ring: AsyncFd<RingBuf<MapData>>,
    /// Whether there was more than one batch.
    behind: bool,
}

impl Source {
    /// Over the ring of a kernel object; must be called inside of a tokio runtime.
    pub fn new(ring: RingBuf<MapData>) -> Result<Self> {
        // SAFETY: the ring keeps its descriptor open, and the same, for as long as it lives.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self {
            behind: false,
            ring: ring.map_err(io::Error::from).context("can't wait for the ring of events")?,
        })
    }

    /// Waits until there are records and hands over a batch of them.
    ///
    /// The kernel wakes us for a record only if we had taken all before it. So we let records gather for a moment: as
    /// long as there is something to take, nobody who makes an event pays for a wake-up.
    pub async fn batch(&mut self, mut each: impl FnMut(Result<Record<'_>, Unreadable>)) -> Result<()> {
        if !self.behind {
            drop(self.ring.readable_mut().await.context("can't wait for the ring of events")?);
            tokio::time::sleep(GATHER).await;
        }
        let mut ready = self.ring.readable_mut().await.context("can't wait for the ring of events")?;
        // Readiness is cleared only when the ring is empty: the kernel tells once.
        self.behind = drain(ready.get_inner_mut(), &mut each) == BATCH;
        if !self.behind {
            ready.clear_ready();
        }
        Ok(())
    }

    /// Hands over what is left, without waiting.
    pub fn rest(&mut self, mut each: impl FnMut(Result<Record<'_>, Unreadable>)) {
        while drain(self.ring.get_mut(), &mut each) == BATCH {}
    }
}

fn drain(ring: &mut RingBuf<MapData>, each: &mut impl FnMut(Result<Record<'_>, Unreadable>)) -> usize {
    let mut count = 0;
    while count < BATCH {
        let Some(item) = ring.next() else { break };
        each(Record::read(&item));
        count += 1;
    }
    count
}
