//! What the running kernel can do, found out by trying.

use std::{fs, path::Path};

use anyhow::{Result, bail};

/// What was found out about one feature.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Capability {
    /// What it is for, from a closed set: a label value.
    pub feature: &'static str,
    /// `enforced`, `fallback` or `missing`.
    pub state: &'static str,
    /// Why, from a closed set: a label value.
    pub reason: &'static str,
    /// What it means for rules, and how to get what is missing.
    pub detail: String,
}

/// Feature names.
pub mod feature {
    /// Refusing an exec.
    pub const EXEC_DENY: &str = "exec_deny";
    /// Killing a program before its first instruction.
    pub const EXEC_KILL: &str = "exec_kill";
    /// Refusing a connect.
    pub const CONNECT_DENY: &str = "connect_deny";
    /// Dropping packets.
    pub const PACKET_DROP: &str = "packet_drop";
    /// Reading struct layouts.
    pub const BTF: &str = "btf";
}

/// The prerequisites without which nothing can be loaded.
///
/// # Errors
/// Says which is missing and how to get it.
pub fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "`monitor` loads programs into the kernel and needs root; start it with sudo, or as a system service"
        );
    }
    // The kernel's own number for the first namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO).
    const HOST: &str = "pid:[4026531836]";
    if fs::read_link("/proc/self/ns/pid").is_ok_and(|ns| ns != Path::new(HOST)) {
        bail!(
            "`monitor` runs in a process namespace of its own, where process ids mean something else than to the \
             kernel; run it in the host's (for a container: `--pid=host`)"
        );
    }
    Ok(())
}

/// Whether the kernel schedules in real time: then a signal to a program that is about to start arrives too late.
#[must_use]
pub fn is_realtime() -> bool {
    fs::read_to_string("/sys/kernel/realtime").is_ok_and(|flag| flag.trim() == "1")
        || rustix::system::uname().version().to_string_lossy().contains("PREEMPT_RT")
}

/// What to say where a program is refused, if this kernel is one of which it is known why; empty elsewhere.
#[must_use]
pub fn remedy() -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if version(&release).is_some_and(|version| version < OLDEST) {
        return format!(
            "\n  Linux {release} lacks what the programs are made of (compare-and-swap came with 5.12, the cgroups above a task \
             for tracing programs with 5.13): boot 6.1 or newer"
        );
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return "\n  this kernel is locked down for confidentiality, so programs may not read its memory: boot with \
                `lockdown=integrity` or without"
            .to_owned();
    }
    String::new()
}

/// The oldest kernel of the ladder that takes all programs: docs/kernels.md.
const OLDEST: (u32, u32) = (6, 1);

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The active security modules; none if the kernel doesn't say.
#[must_use]
pub fn security_modules() -> Option<String> {
    fs::read_to_string("/sys/kernel/security/lsm").ok().map(|list| list.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version("5.10.0-46-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert!(version("6.12.118+deb13-rt-amd64") > Some(OLDEST));
        assert_eq!(version("unknown"), None);
    }
}
