//! From the checked configuration to what the kernel programs read.

pub mod ask;
pub mod compile;
pub mod globs;
mod judge;
pub mod names;
pub mod patterns;
pub mod prefixes;
mod rules;
pub mod workloads;

pub use compile::{Compiled, Host};
pub use names::Names;
pub use rules::Unenforceable;
pub use workloads::Accounts;
