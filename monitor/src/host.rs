//! The host: its files, file systems, control groups, accounts, processes and interfaces.

pub mod accounts;
pub mod cgroup;
pub mod changes;
pub mod content;
pub mod file;
pub mod interfaces;
pub mod mounts;
pub mod placement;
pub mod processes;
pub mod ssh;
