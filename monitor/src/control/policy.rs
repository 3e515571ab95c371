//! Requests about the policy in force.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::line::Out;
use crate::{
    agent::orders::{Order, Orders, Wish},
    config::Mode,
};

/// What is to become of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// To put a file in force.
    Apply {
        /// Its absolute path, which the agent reads itself.
        path: PathBuf,
        /// Seconds until the one before comes back unless it is confirmed; for good without.
        confirm_within: Option<u64>,
    },
    /// To read the agent's own files anew.
    Reload,
    /// To keep what is on trial.
    Confirm,
    /// To go back to the policy before.
    RollBack,
    /// To observe or enforce.
    Mode {
        /// Whether to enforce.
        enforce: bool,
        /// The rule; everything without.
        rule: Option<String>,
    },
}

/// To end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Whether what is in force stays so.
    pub keep: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// In words.
    pub outcome: String,
}

pub(super) fn change(orders: &Orders, change: &Change, out: &mut Out) -> Result<()> {
    let order = match change.clone() {
        Change::Apply { path, confirm_within } => {
            Order::Change(Wish::Apply { path, trial: confirm_within.map(Duration::from_secs) })
        }
        Change::Reload => Order::Change(Wish::Files),
        Change::Confirm => Order::Confirm,
        Change::RollBack => Order::RollBack,
        Change::Mode { enforce, rule } => {
            Order::Change(Wish::Mode { rule, mode: if enforce { Mode::Enforce } else { Mode::Observe } })
        }
    };
    out.done(&Changed { outcome: orders.give(order)? })
}

pub(super) fn stop(orders: &Orders, stop: Stop, out: &mut Out) -> Result<()> {
    out.done(&Changed { outcome: orders.give(Order::Stop { keep: Some(stop.keep) })? })
}
