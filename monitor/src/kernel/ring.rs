//! How full a ring is, as its two ends tell.

use std::{
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering::Acquire},
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, MapInfo};
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

/// The positions of both ends of a ring, in the agent's own memory.
#[derive(Debug)]
pub struct Fill {
    consumed: Page,
    produced: Page,
    capacity: usize,
}

impl Fill {
    /// Looks at a ring.
    ///
    /// # Errors
    /// When it is none, or the kernel refuses.
    pub fn new(ring: &MapData) -> Result<Self> {
        let info: MapInfo = ring.info().context("can't ask the kernel about a ring")?;
        let capacity = info.max_entries() as usize;
        Ok(Self { consumed: Page::new(ring, 0)?, produced: Page::new(ring, 1)?, capacity })
    }

    /// Whether it is more than a quarter full.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        self.used() > self.capacity / 4
    }

    /// Bytes that nobody has taken off it.
    fn used(&self) -> usize {
        // In this order: what is consumed meanwhile doesn't make it negative.
        let consumed = self.consumed.position();
        self.produced.position().wrapping_sub(consumed)
    }
}

/// A page of a ring that begins with a position.
#[derive(Debug)]
struct Page(NonNull<AtomicUsize>);

// SAFETY: the memory is the mapping's own, stays where it is until the end, and is only read, as an atomic.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn new(ring: &MapData, number: u64) -> Result<Self> {
        let (length, offset) = (page_size(), number * page_size() as u64);
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, ring.fd().as_fd(), offset)
        };
        let at = at.context("can't map the position of a ring")?;
        Ok(Self(NonNull::new(at.cast()).context("a ring was mapped to nowhere")?))
    }

    fn position(&self) -> usize {
        // SAFETY: the mapping begins with the position, and lives as long as `self`.
        unsafe { self.0.as_ref() }.load(Acquire)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody can use it any more. If it fails, it stays mapped.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), page_size()) };
    }
}
