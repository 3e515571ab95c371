//! From the checked configuration to what the kernel programs read.

pub mod ask;
pub mod compile;
pub mod globs;
pub mod heirs;
pub mod interfaces;
mod judge;
pub mod lockout;
pub mod names;
pub mod patterns;
pub mod ports;
pub mod prefixes;
pub mod rate_counters;
mod rates;
mod rules;
pub mod sources;
pub mod workloads;

pub use compile::{Compiled, Host};
pub use heirs::Heirs;
pub use names::Names;
pub use rate_counters::RateCounters;
pub use rules::Unenforceable;
pub use workloads::Accounts;
