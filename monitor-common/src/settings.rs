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
        /// How long after it was last seen alive the agent counts as gone, nanoseconds.
        pub stale_after_ns: u64,
        /// How many sets of sources there are: a power of two.
        pub source_sets: u32,
        /// 1 when packets of a capture are judged at the times that it says, rather than now.
        pub simulated: u32,
        /// The agent's own executable, for the canaries.
        pub agent_exe: crate::identity::ExeId,
        /// How many ordinary events one control group may have told; none: all.
        pub events: crate::limit::Limit,
    }

    /// The ordinary events of a control group.
    pub struct Flow {
        /// Their bucket ([`crate::limit`]).
        pub bucket: u64,
        /// How many were too many.
        pub suppressed: u64,
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
        /// 1 in the moment of a switch.
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

    /// Whether the agent is gone at a time, nanoseconds since boot: it was not seen for longer than this. One that hangs, or was
    /// stopped, is as gone as one that is dead.
    #[inline(always)]
    #[must_use]
    pub const fn is_stale(&self, now_ns: u64, after_ns: u64) -> bool {
        now_ns.saturating_sub(self.beat_ns) > after_ns
    }

    /// How long both judge when a trial ends by itself, nanoseconds: longer than the programs at one hook take.
    pub const BOTH_NS: u64 = 1_000_000;

    /// The generation that judges at a time, nanoseconds since boot.
    #[must_use]
    pub const fn in_force(&self, now_ns: u64) -> u64 {
        if self.until_ns != 0 && now_ns > self.until_ns { self.before } else { self.generation }
    }

    /// Whether a generation judges at a time, nanoseconds since boot, which matters during a trial only.
    ///
    /// Programs of two generations at one hook ask one after the other, and the switch may be made in between. If the one that
    /// comes is asked first, it says that it doesn't judge yet, and the one that goes would say that it no longer does: so that
    /// one goes on for a moment. At most hooks the older is asked first; `newest_first` says where it is the other way round.
    #[inline(always)]
    #[must_use]
    pub const fn judges(&self, own: u64, now_ns: u64, newest_first: bool) -> bool {
        let current = if self.until_ns == 0 {
            self.generation == own
        } else {
            (self.generation == own && now_ns <= self.until_ns.saturating_add(Self::BOTH_NS))
                || (self.before == own && now_ns > self.until_ns)
        };
        let asked_last = if newest_first { own < self.generation } else { own > self.generation };
        current || (self.overlap == 1 && self.before == own && asked_last)
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: u64 = 4;
    const NEW: u64 = 5;

    /// Asks the programs of both at one hook, the second after the entry has become another.
    fn asked(first: (&Control, u64), second: (&Control, u64), newest_first: bool) -> [bool; 2] {
        let (a, b) = if newest_first { (NEW, OLD) } else { (OLD, NEW) };
        [first.0.judges(a, first.1, newest_first), second.0.judges(b, second.1, newest_first)]
    }

    /// What the entry is, step by step, when one generation follows the other.
    fn steps(from: u64, to: u64) -> [Control; 3] {
        let before = Control { generation: from, ..Control::NONE };
        let moment = Control { generation: to, before: from, overlap: 1, ..Control::NONE };
        [before, moment, Control { overlap: 0, ..moment }]
    }

    #[test]
    fn an_agent_that_was_not_seen_for_longer_is_gone() {
        let control = Control { beat_ns: 1000, ..Control::NONE };
        for (now, stale) in [(0, false), (1000, false), (1500, false), (1501, true), (u64::MAX, true)] {
            assert_eq!(control.is_stale(now, 500), stale, "{now}");
        }
        assert!(!control.is_stale(u64::MAX, u64::MAX), "never");
    }

    #[test]
    fn wherever_the_switch_is_made_one_of_two_judges() {
        for (from, to) in [(OLD, NEW), (NEW, OLD)] {
            let steps = steps(from, to);
            for newest_first in [false, true] {
                for (first, second) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)] {
                    let judged = asked((&steps[first], 0), (&steps[second], 0), newest_first);
                    assert!(judged[0] || judged[1], "{from} to {to}, {first} {second}, {newest_first}");
                }
                for settled in [0, 2] {
                    let judged = asked((&steps[settled], 0), (&steps[settled], 0), newest_first);
                    assert!(judged[0] != judged[1], "one of them, and one only");
                }
            }
        }
    }

    #[test]
    fn when_a_trial_ends_by_itself_one_of_two_judges() {
        let trial = Control { generation: NEW, before: OLD, until_ns: 1000, ..Control::NONE };
        let times = [1, 999, 1000, 1001, 1000 + Control::BOTH_NS, 1001 + Control::BOTH_NS, u64::MAX];
        for newest_first in [false, true] {
            for pair in times.windows(2) {
                for later in [pair[0], pair[1]] {
                    let judged = asked((&trial, pair[0]), (&trial, later), newest_first);
                    assert!(judged[0] || judged[1], "{pair:?}, {newest_first}");
                }
            }
        }
        assert!(trial.judges(NEW, 1000, false) && !trial.judges(OLD, 1000, false));
        assert!(trial.judges(OLD, 2 + 1000 + Control::BOTH_NS, false));
        assert!(!trial.judges(NEW, 2 + 1000 + Control::BOTH_NS, false));
        assert!(!trial.judges(OLD - 1, u64::MAX, false));
    }
}
