//! What is known of this host.

use std::{ops::RangeInclusive, path::PathBuf};

use crate::host::{accounts::Accounts, cgroup, file::Tree};
use crate::kernel::support;

/// What lints ask about this host. What can't be found out is `None`, and nothing is said about it.
pub(super) struct Facts {
    /// The active security modules, separated by commas.
    pub modules: Option<String>,
    /// Whether the kernel schedules in real time.
    pub realtime: bool,
    /// The host's files.
    pub tree: Option<Tree>,
    /// Its users and groups.
    pub accounts: Option<Accounts>,
    /// Where the cgroup v2 tree is mounted.
    pub cgroups: Option<PathBuf>,
    /// Ports that the kernel chooses from by itself.
    pub local_ports: Option<RangeInclusive<u16>>,
}

/// `net.ipv4.ip_local_port_range`: the first port and the last.
fn local_ports() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

impl Facts {
    pub fn look() -> Self {
        let tree = Tree::open().ok();
        Self {
            modules: support::security_modules(),
            realtime: support::is_realtime(),
            accounts: tree.as_ref().and_then(|tree| Accounts::read(tree).ok()),
            tree,
            cgroups: cgroup::mount_point().ok(),
            local_ports: local_ports(),
        }
    }

    /// Why BPF LSM can't be counted on, and how to get it; `None` if it is active.
    pub fn no_lsm(&self) -> Option<(String, String)> {
        match &self.modules {
            Some(modules) if modules.split(',').any(|module| module == "bpf") => None,
            Some(modules) => Some((
                format!("`bpf` is not among the security modules of its kernel ({modules})"),
                format!("boot with `lsm={modules},bpf`"),
            )),
            None => Some((
                "its kernel doesn't say whether BPF LSM is active".into(),
                "see its security modules with `mount -t securityfs none /sys/kernel/security`".into(),
            )),
        }
    }
}
