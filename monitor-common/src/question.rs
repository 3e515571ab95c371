//! A request as the programs `ask` and `ask_database` are asked it: the decisions of the hooks, without anybody doing
//! anything.
//!
//! The agent's commands make a [`Question`] of a request, with everything that a hook would find out for itself. User space
//! answers it from the compiled policy, a kernel program from its maps; both give the same [`Answer`].

use crate::{
    addr::Addr,
    event::Endpoint,
    identity::{ExeId, Process},
    limits,
    policy::{Decision, Masks, WorkloadSet, masks::Kinship},
};

wire! {
    /// What is asked. It must fit into what the kernel takes as a packet of one page, some 3,400 bytes.
    pub struct Question {
        /// Code from [`kind`].
        pub kind: u32,
        /// Real user; `u32::MAX` if it isn't known, which is nobody's.
        pub uid: u32,
        /// Real group, in the same way.
        pub gid: u32,
        /// 1 if `to` has an address.
        pub has_address: u32,
        /// Workloads that the process which made it is a member of.
        pub parents: WorkloadSet,
        /// Workloads of those further up.
        pub ancestors: WorkloadSet,
        /// Ids of its cgroup and those above it, from the root down; zeros follow. All zero: not known, and in scope.
        pub cgroups: [u64; limits::CGROUP_DEPTH as usize],
        /// The file that it runs; [`ExeId::NONE`] if that isn't known.
        pub exe: ExeId,
        /// The file that it executes.
        pub file: ExeId,
        /// Flags of [`crate::event::exec::flags`] for `exe`.
        pub exe_notes: u16,
        /// The same for `file`.
        pub file_notes: u16,
        /// Where in `exe_path` its path begins.
        pub exe_from: u16,
        /// Where in `path` that begins; of a cgroup that was made, how long it is.
        pub path_from: u16,
        /// Bytes of `args` in use.
        pub args_len: u16,
        /// 1 if there are more.
        pub args_cut: u16,
        /// 1 if `file` interprets the scripts that were the questions before, of [`kind::FILE`].
        pub has_script: u32,
        /// Where to; for packets the local end.
        pub to: Endpoint,
        /// Where a packet is from.
        pub from: Addr,
        /// Path of `exe` in the host's tree, at the end of the array.
        pub exe_path: [u8; limits::PATH],
        /// Path of `file` or of a socket, at the end of the array; of a cgroup, at the beginning.
        pub path: [u8; limits::PATH],
        /// Arguments, the program's own name first, each ended by a zero byte.
        pub args: [u8; limits::ARGS],
    }

    /// What is answered.
    pub struct Answer {
        /// The workloads that the process belongs to.
        pub workloads: WorkloadSet,
        /// [`Decision::rule`]
        pub rule: u16,
        /// [`Decision::verdict`]
        pub verdict: u8,
        /// [`Decision::mode`]
        pub mode: u8,
        /// 1: the question was understood.
        pub done: u32,
    }
}

/// What kind of question it is.
pub mod kind {
    /// Nothing is asked: a cgroup was made, whose id is the first of `cgroups`.
    pub const CGROUP_MADE: u32 = 0;
    /// A process connects to `to`.
    pub const CONNECT: u32 = 1;
    /// A process binds to `to`.
    pub const BIND: u32 = 2;
    /// A process executes `file`.
    pub const EXEC: u32 = 3;
    /// A packet arrives at `to` from `from`.
    pub const SOURCE: u32 = 4;
    /// A process connects to the unix socket at `path`.
    pub const UNIX_CONNECT: u32 = 5;
    /// A process makes a unix socket at `path`.
    pub const UNIX_BIND: u32 = 6;
    /// A process opens a raw socket.
    pub const RAW: u32 = 7;
    /// A process is about to execute `file`: what the security hook says of it alone, which can only refuse.
    pub const FILE: u32 = 8;
}

impl Question {
    /// Nothing known.
    pub const BLANK: Self = Self {
        kind: kind::CGROUP_MADE,
        uid: u32::MAX,
        gid: u32::MAX,
        has_address: 0,
        parents: WorkloadSet::EMPTY,
        ancestors: WorkloadSet::EMPTY,
        cgroups: [0; limits::CGROUP_DEPTH as usize],
        exe: ExeId::NONE,
        file: ExeId::NONE,
        exe_notes: 0,
        file_notes: 0,
        exe_from: limits::PATH as u16,
        path_from: limits::PATH as u16,
        args_len: 0,
        args_cut: 0,
        has_script: 0,
        to: Endpoint { addr: Addr::UNSPECIFIED, port: 0, protocol: 0, family: 0, zero: 0 },
        from: Addr::UNSPECIFIED,
        exe_path: [0; limits::PATH],
        path: [0; limits::PATH],
        args: [0; limits::ARGS],
    };

    /// Has `process` be a child of members of `parents`, below members of `ancestors`, that has executed nothing yet.
    #[inline(always)]
    pub fn beget(&self, process: &mut Process, masks: &Masks, kin: &impl Kinship) {
        *process = Process::stranger(masks);
        // Who stays a member for good has children that do.
        process.kept = self.parents.or(&self.ancestors).and(&masks.descendants);
        process.workloads = self.ancestors;
        process.is_begotten(masks, kin);
        process.workloads = self.parents;
        process.is_begotten(masks, kin);
    }

    /// Whether the policy speaks of the process, being limited to a cgroup of this id and depth.
    #[inline(always)]
    #[must_use]
    pub fn is_in_scope(&self, id: u64, level: u32) -> bool {
        const LAST: usize = limits::CGROUP_DEPTH as usize - 1;
        level == 0 || self.cgroups[0] == 0 || self.cgroups[level as usize & LAST] == id
    }
}

impl Answer {
    /// What was decided.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        Decision { rule: self.rule, verdict: self.verdict, mode: self.mode }
    }
}
