//! What the agent tells the kernel programs at load, as a read-only global.

wire! {
    /// Settings of one run of the agent.
    pub struct Settings {
        /// Id of the cgroup that the policy is limited to.
        pub scope_cgroup: u64,
        /// Its depth below the root of the cgroup v2 tree; 0 is the root: everything is in scope.
        pub scope_level: u32,
        /// 1 when these programs judge only while [`Control::generation`] says so.
        pub governed: u32,
        /// 1 when an LSM program refuses execs, so that the exec tracepoint leaves denials to it.
        pub exec_lsm: u32,
        /// 1 when somebody wants to read of connects, binds and listens that no rule reports.
        pub sockets_wanted: u32,
        /// Key of the hash of sources.
        pub source_key: [u64; 2],
        /// The generation that these programs are of.
        pub generation: u64,
        /// How many sets of sources there are: a power of two.
        pub source_sets: u32,
        /// 1 when packets of a capture are judged at the times that it says, rather than now.
        pub simulated: u32,
        /// The agent's own executable, for the canaries.
        pub agent_exe: crate::identity::ExeId,
    }
}

wire! {
    /// What all generations of kernel programs share, and what outlives the agent: one entry of `CONTROL`.
    pub struct Control {
        /// The generation that judges. Programs of others keep their tables true, and leave everything else alone.
        pub generation: u64,
        /// The one that judges from [`until_ns`](Self::until_ns) on.
        pub before: u64,
        /// Until when the generation is on trial, nanoseconds since boot: if nobody confirms it, the one before judges again,
        /// with or without an agent; 0 when it is not.
        pub until_ns: u64,
        /// When the agent was last seen alive, nanoseconds since boot.
        pub beat_ns: u64,
        /// Key of the hash of sources: what is in `SOURCES` and `BAN_BITS` lies where it says.
        pub source_key: [u64; 2],
        /// The agent's own process: never reported, never refused (but for its canaries); 0 while there is none.
        pub agent_pid: u32,
        /// 1 in the moment of a switch, when security programs of older generations go on to judge.
        pub overlap: u32,
    }
}

impl Control {
    /// Of a host that no agent has run on.
    pub const NONE: Self = Self {
        generation: 0,
        before: 0,
        until_ns: 0,
        beat_ns: 0,
        source_key: [0; 2],
        agent_pid: 0,
        overlap: 0,
    };

    /// The generation that judges at a time, nanoseconds since boot.
    #[must_use]
    pub const fn in_force(&self, now_ns: u64) -> u64 {
        if self.until_ns != 0 && now_ns > self.until_ns { self.before } else { self.generation }
    }
}

/// Byte that the automaton of globs is fed before a text that isn't the path of a file; no such path begins with it.
pub mod tag {
    /// The path of a cgroup below the mount of its tree follows.
    pub const CGROUP: u8 = b'c';
    /// The path of a socket in the host's tree follows.
    pub const SOCKET: u8 = b's';
    /// Arguments follow, each ended by a zero byte, the first being the program's own name.
    pub const ARGUMENTS: u8 = b'a';
}

/// Classes of files without a path of their own; the value is the index of their [`crate::policy::Membership`].
pub mod class {
    /// A file that is in no directory at all and never was: one of `memfd_create`, whatever memory it uses.
    pub const MEMFD: u32 = 0;
    /// A file that has no name any more, or never had one (`O_TMPFILE`).
    pub const DELETED: u32 = 1;
    /// A path too long or too deep to be compared: every exec rule with a glob names it, no workload does.
    pub const OVERLONG: u32 = 2;
    /// A file on a file system that the host's tree doesn't have, where no glob can place it.
    pub const UNPLACED: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
}
