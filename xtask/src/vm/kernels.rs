//! The ladder: every kernel that tests are run on.

use clap::ValueEnum;

/// One kernel of Debian's. Adding a kernel is adding a row to [`LADDER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// What `--kernel` calls it, and its directory below `target/vm`.
    pub name: &'static str,
    /// The suite that has its packages; which of the two archives follows from this name.
    pub suite: &'static str,
    /// Names of the packages to unpack; `*` stands for what changes with each release, of which the newest is taken.
    pub packages: &'static [&'static str],
    /// Modules to load beside [`MODULES`].
    pub modules: &'static [&'static str],
}

/// What every guest loads, with what these depend on; one that is built into a kernel is left out.
pub const MODULES: &[&str] = &[
    "veth",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    // Link kinds and packet hooks that scenarios set up.
    "dummy",
    "8021q",
    "sch_ingress",
    "cls_bpf",
];

/// What `--kernel` stands for when it isn't given.
pub const DEFAULT: &str = "6.1";

/// The kernels, oldest first. The cloud flavour has the same features as the generic one at a third of the size.
pub const LADDER: &[Kernel] = &[
    Kernel {
        name: "5.10",
        suite: "bullseye-security",
        packages: &["linux-image-5.10.*-cloud-amd64"],
        modules: &[],
    },
    Kernel {
        name: "6.1",
        suite: "bookworm-security",
        packages: &["linux-image-6.1.*-cloud-amd64"],
        modules: &[],
    },
    Kernel {
        name: "6.12",
        suite: "trixie-security",
        packages: &["linux-image-6.12.*-cloud-amd64"],
        modules: &[],
    },
    Kernel {
        name: "6.12-rt",
        suite: "trixie-security",
        packages: &["linux-image-6.12.*-rt-amd64"],
        modules: &[],
    },
    Kernel {
        name: "6.18",
        suite: "trixie-backports",
        packages: &["linux-image-6.18.*-cloud-amd64"],
        modules: &[],
    },
    // The newest there is. From 7.0 on the kernel and its modules are in packages of their own.
    Kernel {
        name: "7",
        suite: "trixie-backports",
        packages: &["linux-binary-7.*-cloud-amd64", "linux-modules-7.*-cloud-amd64"],
        modules: &[],
    },
];

/// What a kernel is booted with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// With BPF LSM and the cgroup v2 tree: as a distribution boots it that has both
    #[default]
    Plain,
    /// Without `bpf` in `lsm=`: programs attach to security hooks and never run
    NoLsm,
    /// With `lockdown=confidentiality`: programs may not read the kernel's memory freely
    Lockdown,
    /// With no cgroup v2 tree mounted
    NoCgroup2,
}

impl Variant {
    /// What is added to the kernel's name; nothing for the plain one.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::NoLsm => " no-lsm",
            Self::Lockdown => " lockdown",
            Self::NoCgroup2 => " no-cgroup2",
        }
    }

    /// Words of the kernel's command line.
    pub fn command_line(self) -> &'static str {
        match self {
            Self::Plain | Self::NoCgroup2 => "lsm=landlock,lockdown,yama,integrity,apparmor,bpf",
            Self::NoLsm => "lsm=landlock,lockdown,yama,integrity,apparmor",
            Self::Lockdown => "lsm=landlock,lockdown,yama,integrity,apparmor,bpf lockdown=confidentiality",
        }
    }

    /// Whether the verifier may say other things than in the plain variant.
    pub fn concerns_programs(self) -> bool {
        matches!(self, Self::Plain | Self::Lockdown)
    }

    /// The mount point that is left out, if any.
    pub fn skipped(self) -> Option<&'static str> {
        (self == Self::NoCgroup2).then_some("/sys/fs/cgroup")
    }
}

impl Kernel {
    /// Finds a row by its name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        LADDER.iter().find(|kernel| kernel.name == name)
    }
}

/// The newest of the packages whose names match a pattern, by the numbers in their names. One `*` stands for anything; a
/// pattern without is the name.
pub fn newest<'a>(pattern: &str, mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once('*') else { return names.find(|name| *name == pattern) };
    let changing = |name: &'a str| name.strip_prefix(before)?.strip_suffix(after);
    names.filter(|name| changing(name).is_some()).max_by_key(|name| changing(name).map(numbers))
}

/// The numbers in a release, in order: `0-56` comes after `0-9`.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn newest_is_by_number_and_without_variants() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-unsigned",
            "linux-image-6.12.90+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13.1-cloud-amd64",
        ];
        let found = |pattern| newest(pattern, names.into_iter());
        assert_eq!(found("linux-image-6.1.*-cloud-amd64"), Some(names[1]));
        assert_eq!(found("linux-image-6.12.*-cloud-amd64"), Some(names[5]));
        assert_eq!(found("linux-image-5.10.*-cloud-amd64"), None);
    }

    #[test]
    fn ladder_is_sound() {
        let names: HashSet<_> = LADDER.iter().map(|kernel| kernel.name).collect();
        assert_eq!(names.len(), LADDER.len(), "names are unique");
        assert!(Kernel::by_name(DEFAULT).is_some());
        for kernel in LADDER {
            for pattern in kernel.packages {
                assert_eq!(pattern.matches('*').count(), 1, "{pattern}");
            }
        }
    }
}
