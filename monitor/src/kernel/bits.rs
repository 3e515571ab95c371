//! The bits that say who is certainly not banned.

use std::sync::atomic::Ordering::SeqCst;

use anyhow::Result;
use aya::maps::Map;
use monitor_common::{limit::BanKey, limits, sources::tag};

use super::words::Words;

const WORDS: usize = limits::BAN_BITS as usize;

/// `BAN_BITS`, in the agent's memory: kernel programs set bits at the same time, so both must do it in one atomic step,
/// which no system call offers.
#[derive(Debug)]
pub struct Bits {
    words: Words,
    key: [u64; 2],
}

impl Bits {
    /// Maps the array, whose bits are found by hashes under `key`.
    ///
    /// # Errors
    /// When it is no array that can be mapped.
    pub fn new(map: &Map, key: [u64; 2]) -> Result<Self> {
        Ok(Self { words: Words::new(map)?, key })
    }

    /// Marks that an entry may be there. Must come before the entry.
    pub fn mark(&self, entry: &BanKey) {
        let (word, bit) = self.place(entry);
        self.words.all()[word].fetch_or(bit, SeqCst);
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
        let before: Vec<u64> = self.words.all().iter().map(|word| word.load(SeqCst)).collect();
        let mut needed = vec![0_u64; WORDS];
        walk(&mut |entry| {
            let (word, bit) = self.place(entry);
            needed[word] |= bit;
        })?;
        for ((word, before), needed) in self.words.all().iter().zip(before).zip(needed) {
            word.fetch_and(!(before & !needed), SeqCst);
        }
        std::thread::sleep(MOMENT);
        let marked = walk(&mut |entry| self.mark(entry));
        if marked.is_err() {
            // A mark too many costs time, one too few lets a ban pass.
            self.words.all().iter().for_each(|word| word.store(u64::MAX, SeqCst));
        }
        marked
    }

    fn place(&self, entry: &BanKey) -> (usize, u64) {
        let number = (tag(self.key, entry.addr.words(), entry.rule) >> 6) % (WORDS as u64 * 64);
        ((number / 64) as usize, 1 << (number % 64))
    }
}
