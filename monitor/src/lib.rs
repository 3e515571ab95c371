//! The agent.

pub mod agent;
pub mod commands;
pub mod config;
pub mod control;
pub mod event;
pub mod host;
pub mod http;
pub mod kernel;
pub mod metrics;
pub mod overview;
pub mod pipeline;
pub mod policy;
pub mod recent;
pub mod render;
pub mod safety;
pub mod sink;
pub mod webpage;

#[cfg(test)]
mod fuzzed;
