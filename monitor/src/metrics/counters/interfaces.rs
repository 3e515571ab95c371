//! What is counted about interfaces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted about interfaces.
#[derive(Debug, Default)]
pub struct Interfaces {
    changes: [AtomicU64; Change::ALL.len()],
}

/// What happened to the interfaces that are watched, or should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One is watched from then on.
    Covered,
    /// One could not be, or is no longer: counted once for each reason that is new.
    Uncovered,
    /// One has gone.
    Vanished,
    /// One has another name.
    Renamed,
    /// Somebody took our programs off one.
    Detached,
    /// The kernel had more news than room for it, so all interfaces were looked at instead.
    Unheard,
}

impl Change {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Covered, Self::Uncovered, Self::Vanished, Self::Renamed, Self::Detached, Self::Unheard];

    /// The `change` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Uncovered => "uncovered",
            Self::Vanished => "vanished",
            Self::Renamed => "renamed",
            Self::Detached => "detached",
            Self::Unheard => "unheard",
        }
    }
}

impl Interfaces {
    /// Counts one.
    pub fn changed(&self, change: Change) {
        self.changes[change as usize].fetch_add(1, Relaxed);
    }

    /// How often that happened.
    #[must_use]
    pub fn changes(&self, change: Change) -> u64 {
        self.changes[change as usize].load(Relaxed)
    }
}
