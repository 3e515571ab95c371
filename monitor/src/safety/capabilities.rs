//! The capabilities that are kept. [`KEPT`] is the one list; docs/hardening.md shows it.

use anyhow::{Context as _, Result, bail};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// A capability that the agent keeps.
#[derive(Debug)]
pub struct Kept {
    /// Its name.
    pub name: &'static str,
    /// What the agent does by it.
    pub why: &'static str,
    set: CapabilitySet,
}

/// Every capability that is kept, and why.
pub const KEPT: [Kept; 4] = [
    Kept {
        name: "CAP_SYS_ADMIN",
        why: "loads kernel programs, makes their maps and opens those of others by their number (it contains CAP_BPF and \
              CAP_PERFMON), and enters network namespaces to list their connections",
        set: CapabilitySet::SYS_ADMIN,
    },
    Kept {
        name: "CAP_NET_ADMIN",
        why: "attaches programs to interfaces, also to those that come while it runs",
        set: CapabilitySet::NET_ADMIN,
    },
    Kept {
        name: "CAP_SYS_PTRACE",
        why: "reads in /proc what other processes run, their files and namespaces; it traces nobody",
        set: CapabilitySet::SYS_PTRACE,
    },
    Kept {
        name: "CAP_DAC_READ_SEARCH",
        why: "finds a program of the policy again whose name has gone (open_by_handle_at), and reads programs that only their \
              owner may read, for their hash",
        set: CapabilitySet::DAC_READ_SEARCH,
    },
];

/// Keeps those of [`KEPT`], and none for what is executed; to listen at a privileged port, also that.
pub(super) fn keep(port: u16) -> Result<()> {
    let mut kept = KEPT.iter().fold(CapabilitySet::empty(), |all, one| all | one.set);
    let have = capabilities(None).context("can't tell which capabilities there are")?;
    if let Some(missing) = KEPT.iter().find(|one| !have.permitted.contains(one.set)) {
        bail!(
            "the capability {} is missing, by which the agent {}; give it to the service or the container",
            missing.name,
            missing.why
        );
    }
    if (1..1024).contains(&port) {
        kept |= have.permitted & CapabilitySet::NET_BIND_SERVICE;
    }
    if have.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept)?;
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("can't give away capabilities")
}

/// Takes everything else from the bounding set, so that no file that is executed can bring it back. Who may not do that
/// can't get it back either, with no_new_privs.
fn bound(kept: CapabilitySet) -> Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel has no further ones.
        let Ok(there) = capability_is_in_bounding_set(one) else { break };
        if there && !kept.contains(one) {
            remove_capability_from_bounding_set(one)
                .context("can't take a capability from the bounding set")?;
        }
    }
    Ok(())
}
