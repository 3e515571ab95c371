//! What people order a running agent to do with its policy.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};

use crate::config::Mode;

/// Orders that wait for the event loop, at most.
const QUEUE: usize = 8;

/// An order.
#[derive(Clone, Debug)]
pub enum Order {
    /// To put another policy in force.
    Change(Wish),
    /// To keep the policy that is on trial.
    Confirm,
    /// To go back to the policy before.
    RollBack,
    /// To end; with `keep`, and leave in force what is.
    Stop {
        /// Whether what is in force stays so; `None`: as the agent was started.
        keep: Option<bool>,
    },
}

/// A wish for another policy.
#[derive(Clone, Debug)]
pub enum Wish {
    /// What the files say now.
    Files,
    /// What this file says, for good or, if nobody confirms it in time, not.
    Apply {
        /// The file.
        path: PathBuf,
        /// How long it is on trial.
        trial: Option<Duration>,
    },
    /// Another mode, for a rule or everything.
    Mode {
        /// The rule.
        rule: Option<String>,
        /// The mode.
        mode: Mode,
    },
    /// The policy before.
    Before,
    /// The one in force, attached anew.
    Again,
}

/// What came of an order, in words.
pub(super) type Reply = oneshot::Sender<Result<String>>;

/// Where orders are given.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<(Order, Reply)>);

impl Orders {
    /// Both ends.
    pub(super) fn new() -> (Self, mpsc::Receiver<(Order, Reply)>) {
        let (give, take) = mpsc::channel(QUEUE);
        (Self(give), take)
    }

    /// Where nobody takes them.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self::new().0
    }

    /// Gives an order and waits until it is carried out; on a thread that may block.
    ///
    /// # Errors
    /// What keeps it from being carried out.
    pub fn give(&self, order: Order) -> Result<String> {
        let (reply, answer) = oneshot::channel();
        self.0.blocking_send((order, reply)).ok().context("the agent is stopping")?;
        answer.blocking_recv().context("the agent stopped before it was done")?
    }
}
