//! The agent: brings everything up in the right order, and down again.

pub mod bans;
mod canaries;
pub mod counters;
pub mod evaluate;
mod follow;
mod generation;
pub mod held;
mod interfaces;
pub mod lock;
mod notify;
pub mod orders;
pub mod prepare;
pub mod reload;
pub mod run;
pub mod simulate;
mod start;
mod succession;
mod telling;
pub mod trial;
pub mod watch;
