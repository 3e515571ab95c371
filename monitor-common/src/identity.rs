//! Who a process is: the file it runs, as the kernel knows it, and what is remembered of it.

use crate::{limits, policy::Membership, policy::WorkloadSet};

wire! {
    /// Executable identity: the file itself, not one of its names.
    ///
    /// Equal values mean that it is the same file, not written to, renamed, linked or re-owned in between: each of
    /// these moves the change time, which no user can set.
    pub struct ExeId {
        /// Inode number.
        pub ino: u64,
        /// Size in bytes.
        pub size: u64,
        /// Change time, seconds since the epoch.
        pub ctime_s: i64,
        /// Change time, nanoseconds.
        pub ctime_ns: u32,
        /// Device as the kernel keeps it: `major << 20 | minor`.
        pub dev: u32,
    }

    /// Key of the map from files to what policy says of them.
    #[derive(Hash)]
    pub struct FileKey {
        /// Inode number.
        pub ino: u64,
        /// Device, `major << 20 | minor`.
        pub dev: u32,
        /// Zero: hash map keys are compared bytewise.
        pub zero: u32,
    }

    /// What policy says of a file that it names by path.
    pub struct FileEntry {
        /// The version of the file that the policy path named when it was resolved.
        pub exe: ExeId,
        /// Workloads the file makes its process belong to, and exec rules that name it.
        pub member: Membership,
    }

    /// Where in the host's tree the root of a mounted file system lies.
    pub struct Mount {
        /// Bytes of `path` in use; 0 for the root itself.
        pub len: u32,
        /// Path of the mount point, without a trailing slash.
        pub path: [u8; limits::MOUNT_PATH],
    }

    /// What the kernel side remembers of a process, from its fork or exec, or from the scan at start.
    pub struct Process {
        /// The file it runs.
        pub exe: ExeId,
        /// Workloads it belongs to.
        pub workloads: WorkloadSet,
        /// Start time, nanoseconds since boot. Exact from a hook; from the scan in steps of a clock tick.
        pub start_ns: u64,
        /// Parent at fork.
        pub ppid: u32,
        /// [`SCANNED`] or 0.
        pub flags: u32,
    }
}

/// [`Process::flags`]: read from `/proc` at start, which an unprivileged process can forge for itself; anything newer
/// is the kernel's own word.
pub const SCANNED: u32 = 1;

impl ExeId {
    /// Stands for "not known".
    pub const NONE: Self = Self { ino: 0, size: 0, ctime_s: 0, ctime_ns: 0, dev: 0 };

    /// The key of this file in maps.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self) -> FileKey {
        FileKey { ino: self.ino, dev: self.dev, zero: 0 }
    }

    /// Whether both are the same version of the same file.
    #[inline(always)]
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        self.ino == other.ino
            && self.dev == other.dev
            && self.size == other.size
            && self.ctime_s == other.ctime_s
            && self.ctime_ns == other.ctime_ns
    }
}

/// Kernel form of a device number from major and minor.
#[must_use]
pub const fn kernel_dev(major: u32, minor: u32) -> u32 {
    major << 20 | (minor & 0xf_ffff)
}

/// Major and minor of a device number in kernel form.
#[must_use]
pub const fn dev_parts(dev: u32) -> (u32, u32) {
    (dev >> 20, dev & 0xf_ffff)
}
