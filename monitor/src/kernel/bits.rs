//! The bits that say who is certainly not banned.

use std::{
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::Map;
use monitor_common::{limit::BanKey, limits, sources::tag};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const WORDS: usize = limits::BAN_BITS as usize;
const BYTES: usize = WORDS * size_of::<u64>();

/// `BAN_BITS`, in the agent's memory: kernel programs set bits at the same time, so both must do it in one atomic step,
/// which no system call offers.
#[derive(Debug)]
pub struct Bits {
    words: NonNull<AtomicU64>,
    key: [u64; 2],
}

// SAFETY: the memory is the mapping's own, stays where it is until the end, and is used only through atomics.
unsafe impl Send for Bits {}
// SAFETY: as above.
unsafe impl Sync for Bits {}

impl Bits {
    /// Maps the array, whose bits are found by hashes under `key`.
    ///
    /// # Errors
    /// When it is no array that can be mapped.
    pub fn new(map: &Map, key: [u64; 2]) -> Result<Self> {
        let Map::Array(data) = map else { bail!("BAN_BITS is no array") };
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe {
            mmap(std::ptr::null_mut(), BYTES, flags, MapFlags::SHARED, data.fd().as_fd(), 0)
                .context("can't map BAN_BITS")?
        };
        let words = NonNull::new(at.cast()).context("BAN_BITS was mapped to nowhere")?;
        Ok(Self { words, key })
    }

    /// Marks that an entry may be there. Must come before the entry.
    pub fn mark(&self, entry: &BanKey) {
        let (word, bit) = self.place(entry);
        self.words()[word].fetch_or(bit, SeqCst);
    }

    /// Takes out the marks of entries that have gone. `walk` calls its argument for every entry there is.
    ///
    /// Entries that a kernel program makes meanwhile keep their mark: it marks before it makes them, a moment apart, and
    /// the second walk comes long after that moment.
    ///
    /// # Errors
    /// Those of `walk`; then no mark is missing.
    pub fn forget(&self, mut walk: impl FnMut(&mut dyn FnMut(&BanKey)) -> Result<()>) -> Result<()> {
        const MOMENT: std::time::Duration = std::time::Duration::from_millis(2);
        let before: Vec<u64> = self.words().iter().map(|word| word.load(SeqCst)).collect();
        let mut needed = vec![0_u64; WORDS];
        walk(&mut |entry| {
            let (word, bit) = self.place(entry);
            needed[word] |= bit;
        })?;
        for ((word, before), needed) in self.words().iter().zip(before).zip(needed) {
            word.fetch_and(!(before & !needed), SeqCst);
        }
        std::thread::sleep(MOMENT);
        let marked = walk(&mut |entry| self.mark(entry));
        if marked.is_err() {
            // A mark too many costs time, one too few lets a ban pass.
            self.words().iter().for_each(|word| word.store(u64::MAX, SeqCst));
        }
        marked
    }

    fn place(&self, entry: &BanKey) -> (usize, u64) {
        let number = (tag(self.key, entry.addr.words(), entry.rule) >> 6) % (WORDS as u64 * 64);
        ((number / 64) as usize, 1 << (number % 64))
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this many words and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), WORDS) }
    }
}

impl Drop for Bits {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody can use it any more. If it fails, it stays mapped.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), BYTES) };
    }
}
