//! The agent: brings everything up in the right order, and down again.

pub mod bans;
mod canaries;
pub mod counters;
pub mod evaluate;
pub mod held;
mod interfaces;
pub mod lock;
mod notify;
pub mod prepare;
pub mod reload;
pub mod run;
pub mod simulate;
mod start;
pub mod trial;
pub mod watch;
