//! Harness shared by the scenarios, the benchmarks and the demo.
//!
//! Everything a scenario makes is a guard: network namespaces, cgroups, temporary directories, processes and
//! the agent itself go away when it ends, also when it fails. Nothing sleeps to be in step with something
//! else: [`wait::eventually`] looks at the thing itself until a deadline.
//!
//! The oracle of a scenario is never the agent: servers log what reached them, programs leave files behind,
//! the kernel is asked what it holds.

#[cfg(feature = "scenarios")]
pub mod agent;
#[cfg(feature = "scenarios")]
pub mod bpf;
#[cfg(feature = "scenarios")]
pub mod capture;
#[cfg(feature = "scenarios")]
pub mod cgroup;
#[cfg(feature = "scenarios")]
pub mod foreign;
#[cfg(feature = "scenarios")]
pub mod frames;
#[cfg(feature = "scenarios")]
pub mod interrupt;
#[cfg(feature = "scenarios")]
pub mod kernel;
#[cfg(feature = "scenarios")]
pub mod life;
#[cfg(feature = "scenarios")]
pub mod needs;
#[cfg(feature = "scenarios")]
pub mod netns;
#[cfg(feature = "scenarios")]
pub mod place;
#[cfg(feature = "scenarios")]
pub mod program;
#[cfg(feature = "scenarios")]
pub mod server;
#[cfg(feature = "scenarios")]
pub mod tun;
#[cfg(feature = "scenarios")]
pub mod wait;
