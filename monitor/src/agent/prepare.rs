//! What must be known before anything is loaded.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::Btf as KernelTypes;
use monitor_common::{layout::KernelLayout, limit::Limit, settings::Settings};

use crate::{
    host::{cgroup::Scope, file::Tree},
    kernel::{btf::Btf, layout, support},
};

/// The host and its kernel, as the programs need to know them.
pub struct Ground {
    /// Where the kernel keeps its fields.
    pub layout: KernelLayout,
    /// The kernel's types.
    pub types: Arc<KernelTypes>,
    /// The host's files.
    pub tree: Tree,
    /// What the programs are told.
    pub settings: Settings,
}

impl Ground {
    /// Looks around.
    ///
    /// # Errors
    /// Says which prerequisite is missing and how to get it.
    pub fn look() -> Result<Self> {
        support::require_root()?;
        let layout = layout::resolve(&Btf::running()?)?;
        let types = KernelTypes::from_sys_fs()
            .context("can't read the kernel's types from /sys/kernel/btf/vmlinux")?;
        let tree = Tree::open()?;
        let pid = std::process::id();
        let (agent_exe, _) = tree.running(pid).context("can't identify our own executable")?;
        let settings = Settings {
            scope_cgroup: 0,
            scope_level: 0,
            governed: 0,
            exec_lsm: 0,
            sockets_wanted: 0,
            source_key: random_key()?,
            generation: 0,
            stale_after_ns: u64::MAX,
            source_sets: 0,
            simulated: 0,
            agent_exe,
            events: Limit::NONE,
        };
        Ok(Self { layout, types: Arc::new(types), tree, settings })
    }

    /// The settings for a policy that is limited to `scope`.
    #[must_use]
    pub fn settings(&self, scope: &Scope, exec_lsm: bool, sockets_wanted: bool) -> Settings {
        Settings {
            scope_cgroup: scope.id,
            scope_level: scope.level,
            exec_lsm: u32::from(exec_lsm),
            sockets_wanted: u32::from(sockets_wanted),
            ..self.settings
        }
    }
}

/// A key that nobody outside knows.
fn random_key() -> Result<[u64; 2]> {
    let mut bytes = [0; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("can't get random numbers from the kernel")?;
    anyhow::ensure!(got == bytes.len(), "the kernel gave only {got} random bytes");
    Ok(zerocopy::transmute!(bytes))
}
