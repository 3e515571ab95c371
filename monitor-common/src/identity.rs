//! Who a process is: the file it runs, as the kernel knows it, and what is remembered of it.

use crate::{
    limits,
    policy::{Masks, Membership, WorkloadSet, masks::Kinship},
};

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
        /// Workloads it would be of if its content were the one that they give.
        pub unverified: WorkloadSet,
    }

    /// Where in the host's tree the root of a mounted file system lies.
    pub struct Mount {
        /// Bytes of `path` in use; 0 for the root itself.
        pub len: u32,
        /// Path of the mount point, without a trailing slash.
        pub path: [u8; limits::MOUNT_PATH],
    }

    /// What the kernel side remembers of a process, from its fork or exec, or from the scan at start.
    ///
    /// The `of_` sets are the workloads that one dimension lets it belong to, those that don't ask about it included;
    /// it belongs to those that are in all of them, and to `kept`.
    pub struct Process {
        /// The file it runs.
        pub exe: ExeId,
        /// Workloads it belongs to, as of when `cgroup`, `uid` and `gid` were what is noted here.
        pub workloads: WorkloadSet,
        /// By the file it runs.
        pub of_exe: WorkloadSet,
        /// By its cgroup, user and group.
        pub of_place: WorkloadSet,
        /// By the process that made it, as that was then.
        pub of_parent: WorkloadSet,
        /// By all that are above it, each as it was when it made the next; and by what it was itself before an exec.
        pub of_ancestor: WorkloadSet,
        /// Workloads it stays in for good (`descendants`).
        pub kept: WorkloadSet,
        /// Start time, nanoseconds since boot. Exact from a hook; from the scan in steps of a clock tick.
        pub start_ns: u64,
        /// Its cgroup when `of_place` was found out; 0 if it wasn't yet.
        pub cgroup: u64,
        /// Its real user then.
        pub uid: u32,
        /// Its real group then.
        pub gid: u32,
        /// Parent at fork.
        pub ppid: u32,
        /// [`SCANNED`], [`LOADER`], [`UNSURE`] or 0.
        pub flags: u32,
    }
}

/// [`Process::flags`]: read from `/proc` at start, which an unprivileged process can forge for itself; anything newer
/// is the kernel's own word.
pub const SCANNED: u32 = 1;
/// [`Process::flags`]: it is a dynamic loader that was started by hand; the program is what it maps.
pub const LOADER: u32 = 2;
/// [`Process::flags`]: its file was not known in this version when it was executed, or its content not yet; it is asked
/// for again until it is.
pub const UNSURE: u32 = 4;

impl Process {
    /// Nobody that is known.
    pub const NONE: Self = Self {
        exe: ExeId::NONE,
        workloads: WorkloadSet::EMPTY,
        of_exe: WorkloadSet::EMPTY,
        of_place: WorkloadSet::EMPTY,
        of_parent: WorkloadSet::EMPTY,
        of_ancestor: WorkloadSet::EMPTY,
        kept: WorkloadSet::EMPTY,
        start_ns: 0,
        cgroup: 0,
        uid: 0,
        gid: 0,
        ppid: 0,
        flags: 0,
    };

    /// A process of which nothing is known yet but that it is one.
    #[inline(always)]
    #[must_use]
    pub const fn stranger(masks: &Masks) -> Self {
        Self {
            of_exe: masks.any_exe,
            of_parent: masks.any_parent,
            of_ancestor: masks.any_ancestor,
            ..Self::NONE
        }
    }

    /// Whether `of_place` holds for this cgroup and these ids.
    #[inline(always)]
    #[must_use]
    pub const fn is_at(&self, cgroup: u64, uid: u32, gid: u32) -> bool {
        self.cgroup == cgroup && self.uid == uid && self.gid == gid
    }

    /// Decides its workloads from the sets.
    #[inline(always)]
    pub const fn settle(&mut self, masks: &Masks) {
        let of_kin = self.of_parent.and(&self.of_ancestor);
        let all = self.of_exe.and(&self.of_place).and(&of_kin);
        self.kept.add(&all.and(&masks.descendants));
        self.workloads = all.or(&self.kept);
    }

    /// Puts it in a cgroup with a user and a group, each given by the workloads that ask for it.
    #[inline(always)]
    pub const fn place(
        &mut self,
        masks: &Masks,
        cgroup: &WorkloadSet,
        user: &WorkloadSet,
        group: &WorkloadSet,
    ) {
        self.of_place =
            cgroup.or(&masks.any_cgroup).and(&user.or(&masks.any_user)).and(&group.or(&masks.any_group));
        self.settle(masks);
    }

    /// This is a copy of the process that made it; makes it a child.
    #[inline(always)]
    pub fn is_begotten(&mut self, masks: &Masks, kin: &impl Kinship) {
        self.of_parent = masks.any_parent;
        self.add_relations(masks, kin, true);
        self.settle(masks);
    }

    /// Adds what a member of its workloads makes of those below it. `workloads` is to be settled afterwards.
    ///
    /// VERIFIER: what is left to do is kept in memory that it knows nothing about, so that each turn of the loop begins
    /// in one state. The bound is for it, too: nearly always nobody is named.
    #[inline(always)]
    fn add_relations(&mut self, masks: &Masks, kinship: &impl Kinship, as_parent: bool) {
        self.workloads = self.workloads.and(&masks.kin);
        let mut tried = 0;
        while tried < limits::WORKLOADS {
            let Some(index) = self.workloads.take_first_from_memory() else { break };
            if let Some(kin) = kinship.kin(index) {
                self.of_ancestor.add(&kin.ancestor);
                if as_parent {
                    self.of_parent.add(&kin.parent);
                }
            }
            tried += 1;
        }
    }

    /// Its file has turned out to be one by which it belongs to these workloads.
    #[inline(always)]
    pub const fn is_sure(&mut self, of_exe: &WorkloadSet, masks: &Masks) {
        self.of_exe.add(of_exe);
        self.flags &= !UNSURE;
        self.settle(masks);
    }

    /// It runs another file from now on, by which it may belong to `of_exe`.
    #[inline(always)]
    pub fn becomes(&mut self, exe: ExeId, of_exe: &WorkloadSet, masks: &Masks, kin: &impl Kinship) {
        self.add_relations(masks, kin, false);
        self.exe = exe;
        self.of_exe = masks.any_exe.or(of_exe);
        self.settle(masks);
    }
}

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
