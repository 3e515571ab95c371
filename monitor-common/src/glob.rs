//! Path patterns in the kernel: one automaton for all globs of a policy.
//!
//! The agent compiles every glob of the policy into one deterministic automaton over bytes. The kernel programs walk
//! it once along a path, at one table look-up per byte, however many patterns there are. What the final state stands
//! for ([`crate::policy::Membership`]) is a second table with an entry per state.
//!
//! State 0 is dead: nothing can match any more. State 1 is the start.

use crate::verifier::opaque;

wire! {
    /// The automaton: a byte selects a class, state and class select the next state.
    pub struct Automaton {
        /// States in use; 0 when the policy has no glob.
        pub states: u32,
        /// log2 of the width of a row of `next`.
        pub shift: u32,
        /// Class of each byte.
        pub class: [u8; 256],
        /// Next state at `state << shift | class`.
        pub next: [u16; TRANSITIONS],
    }
}

/// Transitions (states times classes) an automaton may have: 512 KiB.
pub const TRANSITIONS: usize = 1 << 18;
/// States an automaton may have.
pub const STATES: usize = 4096;
/// Nothing can match from here.
pub const DEAD: u16 = 0;
/// Where every path starts.
pub const START: u16 = 1;

impl Automaton {
    /// The state after one more byte of a path.
    #[inline(always)]
    #[must_use]
    pub fn step(&self, state: u16, byte: u8) -> u16 {
        let class = self.class[byte as usize];
        // The masks prove the bounds to the verifier; a sound table never needs them.
        let row = (state as usize) << (self.shift & 15);
        self.next[opaque(row | class as usize) & (TRANSITIONS - 1)]
    }

    /// The state after a whole path.
    #[must_use]
    pub fn run(&self, path: &[u8]) -> u16 {
        if self.states == 0 {
            return DEAD;
        }
        let mut state = START;
        for byte in path {
            if state == DEAD {
                break;
            }
            state = self.step(state, *byte);
        }
        state
    }
}
