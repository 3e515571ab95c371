//! The path of an event through the agent: off the ring, completed, judged worth telling, handed to the sinks.
//!
//! One task owns all of it, so there is no lock on the way; it never waits for a sink.

pub mod detect;
pub mod enrich;
pub mod redact;
pub mod source;
