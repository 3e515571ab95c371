//! From the checked configuration to what the kernel programs read.

pub mod compile;
pub mod globs;
pub mod names;

pub use compile::{Compiled, Unenforceable};
pub use names::Names;
