//! Whether the agent is alive and ready.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// An event loop that hasn't beaten for so long isn't alive. It should beat at least every second.
pub const STALE: Duration = Duration::from_secs(10);

/// What `/healthz` and `/readyz` tell.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    beat: AtomicU64,
    /// Why it isn't ready; `None`: it is.
    unready: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        let unready = Mutex::new(Some("starting".to_owned()));
        Self { start: Instant::now(), beat: AtomicU64::new(0), unready }
    }
}

impl Health {
    /// The event loop is at work.
    pub fn beat(&self) {
        self.beat.store(self.now(), Relaxed);
    }

    /// From now on the agent watches and enforces.
    pub fn set_ready(&self) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It doesn't, for this reason.
    pub fn set_unready(&self, reason: impl Into<String>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// # Errors
    /// How long the event loop has been silent, if that is [`STALE`] or more.
    pub fn alive(&self) -> Result<(), String> {
        self.alive_after(self.now())
    }

    /// # Errors
    /// Why it isn't.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.unready.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(format!("not ready: {reason}")),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn alive_after(&self, now: u64) -> Result<(), String> {
        let silent = Duration::from_millis(now.saturating_sub(self.beat.load(Relaxed)));
        if silent < STALE {
            Ok(())
        } else {
            Err(format!("the event loop has not run for {} s", silent.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_death() {
        let health = Health::default();
        assert_eq!(health.alive(), Ok(()));
        assert_eq!(health.alive_after(12_345), Err("the event loop has not run for 12 s".to_owned()));
        health.beat();
        assert_eq!(health.alive(), Ok(()));
    }

    #[test]
    fn readiness_has_reasons() {
        let health = Health::default();
        assert_eq!(health.ready(), Err("not ready: starting".to_owned()));
        health.set_ready();
        assert_eq!(health.ready(), Ok(()));
        health.set_unready("stopping");
        assert!(health.ready().is_err());
    }
}
