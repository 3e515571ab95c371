//! The host: its files, file systems, control groups, accounts, processes, connections and interfaces.

pub mod accounts;
pub mod cgroup;
pub mod changes;
pub mod clock;
pub mod connections;
pub mod content;
mod escape;
pub mod file;
pub mod interfaces;
pub mod memory;
pub mod mounts;
mod netlink;
pub mod placement;
pub mod processes;
pub mod ssh;
pub mod trust;
pub mod whole;
