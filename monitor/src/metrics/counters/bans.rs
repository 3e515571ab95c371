//! What is counted about bans and the policy.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What is counted about bans.
#[derive(Debug, Default)]
pub struct Bans {
    by_hand: [AtomicU64; BanKind::ALL.len()],
    penalties: Mutex<Vec<Penalties>>,
    remembered: AtomicU64,
    failures: [AtomicU64; BanFailure::ALL.len()],
}

/// Sources that serve a penalty of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Penalties {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// All of them.
    pub active: u64,
    /// Those for whom it isn't the first.
    pub repeated: u64,
}

/// A kind of ban by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanKind {
    /// Of a single address or an IPv6 network of 64 bits.
    Host,
    /// Of another network.
    Net,
}

/// What failed about the bans that are kept on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanFailure {
    /// Reading those of earlier runs.
    Read,
    /// Writing them.
    Write,
}

/// What became of a new policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It says what the old one said.
    Unchanged,
    /// It has errors; the old one is still in force.
    Invalid,
    /// It changes what takes a restart; the old one is still in force.
    NeedsRestart,
    /// The kernel didn't take it; the old one is still in force.
    Failed,
}

impl BanKind {
    /// All.
    pub const ALL: [Self; 2] = [Self::Host, Self::Net];

    /// The `kind` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Net => "network",
        }
    }
}

impl BanFailure {
    /// All.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// The `operation` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Reload {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::Applied, Self::Unchanged, Self::Invalid, Self::NeedsRestart, Self::Failed];

    /// The `outcome` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Invalid => "invalid",
            Self::NeedsRestart => "needs_restart",
            Self::Failed => "failed",
        }
    }
}

impl Bans {
    /// Tells how many bans by hand of a kind there are.
    pub fn set(&self, kind: BanKind, count: u64) {
        self.by_hand[kind as usize].store(count, Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn by_hand(&self, kind: BanKind) -> u64 {
        self.by_hand[kind as usize].load(Relaxed)
    }

    /// Tells how many serve a penalty, by rule.
    pub fn set_penalties(&self, penalties: Vec<Penalties>) {
        *self.penalties.lock().unwrap_or_else(PoisonError::into_inner) = penalties;
    }

    /// Tells how many penalties are remembered, those that are over included.
    pub fn set_remembered(&self, penalties: u64) {
        self.remembered.store(penalties, Relaxed);
    }

    /// How many are remembered.
    #[must_use]
    pub fn remembered(&self) -> u64 {
        self.remembered.load(Relaxed)
    }

    /// How many serve a penalty, by rule.
    #[must_use]
    pub fn penalties(&self) -> Vec<Penalties> {
        self.penalties.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a failure.
    pub fn failed(&self, what: BanFailure) {
        self.failures[what as usize].fetch_add(1, Relaxed);
    }

    /// How often that failed.
    #[must_use]
    pub fn failures(&self, what: BanFailure) -> u64 {
        self.failures[what as usize].load(Relaxed)
    }
}
