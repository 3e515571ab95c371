//! The one map entry that all generations of kernel programs look at: who judges, and whether an agent lives.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};
use monitor_common::settings::Control as Entry;

use crate::host::clock::since_boot_ns;

/// Longer than a kernel program takes to decide.
const MOMENT: Duration = Duration::from_millis(5);

/// The entry. The agent is the only one to write it, but for the kernel's note that the agent has gone.
pub struct Control {
    map: Mutex<Array<MapData, Entry>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// Over the map.
    ///
    /// # Errors
    /// When it is no array.
    pub fn new(map: MapData) -> Result<Self> {
        Ok(Self { map: Mutex::new(Map::Array(map).try_into()?) })
    }

    /// The entry as it is.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn read(&self) -> Result<Entry> {
        self.map().get(&0, 0).context("can't read CONTROL")
    }

    /// Changes the entry.
    ///
    /// # Errors
    /// As the kernel says; then nothing is changed.
    pub fn change(&self, change: impl FnOnce(&mut Entry)) -> Result<()> {
        let mut map = self.map();
        let mut entry = map.get(&0, 0).context("can't read CONTROL")?;
        change(&mut entry);
        map.set(0, entry, 0).context("can't write CONTROL")
    }

    /// Has a generation judge from now on. With a time it is on trial: the one in force judges again when that has passed, unless
    /// it is confirmed.
    ///
    /// # Errors
    /// As the kernel says; then the one in force still is.
    pub fn switch(&self, generation: u64, trial: Option<Duration>) -> Result<()> {
        let now = since_boot_ns();
        self.change(|entry| {
            entry.overlap = 1;
            entry.before = entry.in_force(now);
            entry.until_ns = trial.map_or(0, |trial| now.saturating_add(trial.as_nanos() as u64));
            entry.generation = generation;
        })?;
        // Whoever read the entry before has decided by then.
        std::thread::sleep(MOMENT);
        self.change(|entry| entry.overlap = 0)
    }

    /// The generation in force is no longer on trial.
    ///
    /// # Errors
    /// As the kernel says; or when the trial is over.
    pub fn confirm(&self) -> Result<()> {
        let entry = self.read()?;
        if entry.until_ns != 0 && since_boot_ns() > entry.until_ns {
            bail!("the time to confirm it is over; the policy before is in force");
        }
        self.change(|entry| entry.until_ns = 0)
    }

    /// Says that the agent is alive. For how long, nanoseconds, it had counted as gone until now, or one before it.
    pub fn beat(&self, stale_after_ns: u64) -> u64 {
        let mut gone = 0;
        let beat = self.change(|entry| {
            let now = since_boot_ns();
            if entry.beat_ns != 0 && entry.is_stale(now, stale_after_ns) {
                gone = now - entry.beat_ns - stale_after_ns;
            }
            entry.beat_ns = now;
        });
        if let Err(error) = beat {
            tracing::warn!("{error:#}");
        }
        gone
    }

    fn map(&self) -> MutexGuard<'_, Array<MapData, Entry>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
