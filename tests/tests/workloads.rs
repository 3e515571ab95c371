//! Workloads: who belongs to which. Each workload is the only client of a database of its own, so the databases that a
//! process reaches are its workloads; the server's log is the oracle.

mod dimensions;
mod families;
mod files;
mod moves;
mod scene;
mod unknown;
