//! Takes records off the rings.
//!
//! In the order of their times, so that who is who is known before somebody is reported. But a ring of findings that fills
//! goes first, whatever else there is.

use std::{future::poll_fn, io, mem, task::Poll, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use monitor_common::event::{Header, Record, Ring, Unreadable};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes as _;

use crate::kernel::ring::Fill;

/// Records that are handled before other tasks get their turn.
const BATCH: usize = 1024;

/// How long records gather: at a million events a second of 300 bytes each, they fill a third of the ring.
const GATHER: Duration = Duration::from_millis(10);

/// The agent's end of the rings.
pub struct Source {
    lanes: Vec<Lane>,
    /// Whether there was more than one batch.
    behind: bool,
}

/// The agent's end of one ring.
struct Lane {
    ring: AsyncFd<RingBuf<MapData>>,
    fill: Fill,
    /// Whether it may go first.
    findings: bool,
    /// Time of the next record on it, if one was seen there.
    next_ns: Option<u64>,
}

impl Source {
    /// Over the rings of a kernel object; must be called inside of a tokio runtime.
    ///
    /// # Errors
    /// When one isn't there, or can't be waited for.
    pub fn new(rings: impl IntoIterator<Item = Result<(Ring, Map)>>) -> Result<Self> {
        let lanes = rings.into_iter().map(|found| found.and_then(|(ring, map)| Lane::new(ring, map)));
        Ok(Self { lanes: lanes.collect::<Result<_>>()?, behind: false })
    }

    /// Waits until there are records and hands over a batch of them.
    ///
    /// The kernel wakes us for a record only if we had taken all before it. So we let records gather for a moment: as
    /// long as there is something to take, nobody who makes an event pays for a wake-up.
    ///
    /// # Errors
    /// When the rings can't be waited for.
    pub async fn batch(&mut self, mut each: impl FnMut(Result<Record<'_>, Unreadable>)) -> Result<()> {
        if !self.behind {
            self.ready().await?;
            tokio::time::sleep(GATHER).await;
        }
        // Also if we are behind: it lets others have their turn now and then.
        self.ready().await?;
        self.take(BATCH, &mut each);
        let left = self.lanes.iter_mut().map(|lane| !lane.is_empty());
        // All are asked: what is empty is waited for from now on.
        self.behind = left.fold(false, |any, left| any | left);
        Ok(())
    }

    /// Hands over what is left, without waiting.
    pub fn rest(&mut self, mut each: impl FnMut(Result<Record<'_>, Unreadable>)) {
        while self.take(BATCH, &mut each) == BATCH {}
    }

    /// Waits until there is something on one of them.
    async fn ready(&mut self) -> Result<()> {
        let ready = poll_fn(|context| {
            for lane in &mut self.lanes {
                if let Poll::Ready(outcome) = lane.ring.poll_read_ready_mut(context) {
                    return Poll::Ready(outcome.map(drop));
                }
            }
            Poll::Pending
        });
        ready.await.context("can't wait for the rings of events")
    }

    fn take(&mut self, most: usize, each: &mut impl FnMut(Result<Record<'_>, Unreadable>)) -> usize {
        let mut count = 0;
        while count < most {
            let Some(lane) = self.turn() else { break };
            lane.hand_over(each);
            count += 1;
        }
        count
    }

    /// The ring whose turn it is; none if all are empty.
    fn turn(&mut self) -> Option<&mut Lane> {
        let waiting = self.lanes.iter_mut().filter_map(|lane| {
            let next_ns = lane.peek()?;
            let calm = !(lane.findings && lane.fill.is_pressing());
            Some(((calm, next_ns), lane))
        });
        waiting.min_by_key(|(order, _)| *order).map(|(_, lane)| lane)
    }
}

impl Lane {
    fn new(ring: Ring, map: Map) -> Result<Self> {
        let Map::RingBuf(data) = &map else { anyhow::bail!("{} is no ring", ring.map()) };
        let fill = Fill::new(data)?;
        let buffer: RingBuf<MapData> = map.try_into()?;
        // SAFETY: the ring keeps its descriptor open, and the same, for as long as it lives.
        let buffer = unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) };
        let buffer = buffer.map_err(io::Error::from);
        Ok(Self {
            ring: buffer.with_context(|| format!("can't wait for {}", ring.map()))?,
            fill,
            findings: ring != Ring::Events,
            next_ns: None,
        })
    }

    /// Time of the next record, which stays there.
    fn peek(&mut self) -> Option<u64> {
        if self.next_ns.is_none() {
            self.next_ns = time_of_next(self.ring.get_mut());
        }
        self.next_ns
    }

    /// Takes the next record.
    fn hand_over(&mut self, each: &mut impl FnMut(Result<Record<'_>, Unreadable>)) {
        self.next_ns = None;
        if let Some(item) = self.ring.get_mut().next() {
            each(Record::read(&item));
        }
    }

    /// Whether there is nothing on it. The kernel tells once when there is something again, so it is asked after that only
    /// if it was seen to be empty.
    fn is_empty(&mut self) -> bool {
        let seen = self.ring.try_io_mut(Interest::READABLE, |ring| {
            time_of_next(ring).ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))
        });
        seen.is_err()
    }
}

/// Time of the next record of a ring; 0 if it can't be read.
fn time_of_next(ring: &mut RingBuf<MapData>) -> Option<u64> {
    let item = ring.next()?;
    let time_ns = Header::read_from_prefix(&item).map_or(0, |(header, _)| header.time_ns);
    // It would be taken off the ring if it was dropped.
    mem::forget(item);
    Some(time_ns)
}
