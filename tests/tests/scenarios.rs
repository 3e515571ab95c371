//! Scenarios: they drive real programs against the agent and compare what an oracle outside of it saw.
//!
//! Each has a control without an agent or in observe mode, so that a refusal is the agent's doing and nothing
//! else's. They attach only in network namespaces and decide only for cgroups of their own.

mod bans;
mod baseline;
mod books;
mod control;
mod database;
mod events;
mod exec_rule;
mod exec_storm;
mod findings;
mod harness;
mod hostile_packets;
mod interfaces;
mod lifecycle;
mod parity;
mod process_memory;
mod prometheus;
mod rate_limit;
mod raw_sockets;
mod safety;
mod simulate;
mod succession;
mod tables;
mod views;
mod workloads;
