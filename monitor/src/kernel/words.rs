//! An array of the kernel in the agent's own memory.

use std::{os::fd::AsFd as _, ptr::NonNull, sync::atomic::AtomicU64};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapInfo};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array of 64-bit words that kernel programs may write at the same time, and that outlives the agent where it is pinned.
#[derive(Debug)]
pub struct Words {
    first: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is the mapping's own, stays where it is until the end, and is used only through atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps an array of words (`BPF_F_MMAPABLE`).
    ///
    /// # Errors
    /// When it is no such array.
    pub fn new(map: &Map) -> Result<Self> {
        let Map::Array(data) = map else { bail!("a map that should be mapped is no array") };
        let info: MapInfo = data.info().context("can't ask the kernel about a map")?;
        if info.value_size() as usize != size_of::<u64>() {
            bail!("a map that should be mapped has no words for values");
        }
        let count = info.max_entries() as usize;
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe {
            let length = count * size_of::<u64>();
            mmap(std::ptr::null_mut(), length, flags, MapFlags::SHARED, data.fd().as_fd(), 0)
        }
        .context("can't map an array of the kernel programs")?;
        let first = NonNull::new(at.cast()).context("an array was mapped to nowhere")?;
        Ok(Self { first, count })
    }

    /// The words.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this many words and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody can use it any more. If it fails, it stays mapped.
        let _ = unsafe { munmap(self.first.as_ptr().cast(), self.count * size_of::<u64>()) };
    }
}
