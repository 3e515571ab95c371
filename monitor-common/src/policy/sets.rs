//! Sets of workloads and of rules, as bits.

use crate::limits;

wire! {
    /// A set of workloads: bit `n` is the `n`th `[[workload]]` of the policy.
    pub struct WorkloadSet {
        /// The bits, lowest first.
        pub bits: [u64; limits::WORKLOADS / 64],
    }

    /// A set of rules of one kind: bit `n` is the `n`th rule in file order.
    pub struct RuleSet {
        /// The bits, lowest first.
        pub bits: [u64; limits::RULES / 64],
    }

    /// What an object of policy (a file, the end state of a glob, a class of files) stands for.
    pub struct Membership {
        /// Workloads one of whose dimensions it fulfils.
        pub workloads: WorkloadSet,
        /// Rules that name it: of `[[exec]]` for files and arguments, of `[[database]]` for sockets.
        pub rules: RuleSet,
        /// [`Membership::LOADER`] or 0.
        pub flags: u64,
    }
}

/// Takes out the lowest bit.
#[inline(always)]
fn take_from_memory<const WORDS: usize>(words: &mut [u64; WORDS]) -> Option<u32> {
    let mut word = 0;
    while word < WORDS {
        let at = &raw mut words[word];
        // SAFETY: a field of a live reference.
        let bits = unsafe { at.read_volatile() };
        if bits != 0 {
            // SAFETY: as above.
            unsafe { at.write_volatile(bits & bits.wrapping_sub(1)) };
            return Some(word as u32 * 64 + bits.trailing_zeros());
        }
        word += 1;
    }
    None
}

impl WorkloadSet {
    /// No workload.
    pub const EMPTY: Self = Self { bits: [0; limits::WORKLOADS / 64] };

    /// Adds a workload; indices past the limit are ignored.
    pub const fn insert(&mut self, index: usize) {
        if index < limits::WORKLOADS {
            self.bits[index / 64] |= 1 << (index % 64);
        }
    }

    /// Whether the set is empty.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bits[0] | self.bits[1] == 0
    }

    /// Whether a workload is in it; indices past the limit are not.
    #[must_use]
    pub const fn contains(&self, index: usize) -> bool {
        index < limits::WORKLOADS && self.bits[index / 64] >> (index % 64) & 1 == 1
    }

    /// What both have.
    #[inline(always)]
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self { bits: [self.bits[0] & other.bits[0], self.bits[1] & other.bits[1]] }
    }

    /// What one of them has.
    #[inline(always)]
    #[must_use]
    pub const fn or(&self, other: &Self) -> Self {
        Self { bits: [self.bits[0] | other.bits[0], self.bits[1] | other.bits[1]] }
    }

    /// Takes out the first workload in file order; the set is read from memory and written back each time.
    #[inline(always)]
    pub fn take_first_from_memory(&mut self) -> Option<u32> {
        take_from_memory(&mut self.bits)
    }

    /// Whether the sets have a workload in common.
    #[inline(always)]
    #[must_use]
    pub const fn meets(&self, other: &Self) -> bool {
        (self.bits[0] & other.bits[0]) | (self.bits[1] & other.bits[1]) != 0
    }

    /// Adds all of another set.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.bits[0] |= other.bits[0];
        self.bits[1] |= other.bits[1];
    }

    /// The first workload of the set in file order, or the number of workloads there can be.
    #[inline(always)]
    #[must_use]
    pub const fn first(&self) -> u32 {
        if self.bits[0] != 0 {
            self.bits[0].trailing_zeros()
        } else if self.bits[1] != 0 {
            64 + self.bits[1].trailing_zeros()
        } else {
            limits::WORKLOADS as u32
        }
    }
}

impl RuleSet {
    /// No rule.
    pub const EMPTY: Self = Self { bits: [0; limits::RULES / 64] };

    /// Adds a rule; indices past the limit are ignored.
    pub const fn insert(&mut self, index: usize) {
        if index < limits::RULES {
            self.bits[index / 64] |= 1 << (index % 64);
        }
    }

    /// Whether a rule is in it.
    #[inline(always)]
    #[must_use]
    pub const fn contains(&self, index: u16) -> bool {
        let word = (index as usize >> 6) & (limits::RULES / 64 - 1);
        self.bits[word] >> (index & 63) & 1 == 1
    }

    /// Adds all of another set.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.bits[0] |= other.bits[0];
        self.bits[1] |= other.bits[1];
        self.bits[2] |= other.bits[2];
        self.bits[3] |= other.bits[3];
    }

    /// What both have.
    #[inline(always)]
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        let (a, b) = (&self.bits, &other.bits);
        Self { bits: [a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]] }
    }

    /// What one of them has.
    #[inline(always)]
    #[must_use]
    pub const fn or(&self, other: &Self) -> Self {
        let (a, b) = (&self.bits, &other.bits);
        Self { bits: [a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]] }
    }

    /// What exactly one of them has.
    #[inline(always)]
    #[must_use]
    pub const fn xor(&self, other: &Self) -> Self {
        let (a, b) = (&self.bits, &other.bits);
        Self { bits: [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]] }
    }

    /// What the other doesn't have.
    #[inline(always)]
    #[must_use]
    pub const fn without(&self, other: &Self) -> Self {
        let (a, b) = (&self.bits, &other.bits);
        Self { bits: [a[0] & !b[0], a[1] & !b[1], a[2] & !b[2], a[3] & !b[3]] }
    }

    /// Takes out the first rule in file order.
    #[inline(always)]
    pub fn take_first(&mut self) -> Option<u32> {
        let mut word = 0;
        while word < limits::RULES / 64 {
            let bits = self.bits[word];
            if bits != 0 {
                self.bits[word] = bits & bits.wrapping_sub(1);
                return Some(word as u32 * 64 + bits.trailing_zeros());
            }
            word += 1;
        }
        None
    }

    /// The same; the set is read from memory and written back each time.
    #[inline(always)]
    pub fn take_first_from_memory(&mut self) -> Option<u32> {
        take_from_memory(&mut self.bits)
    }

    /// Whether the sets have a rule in common.
    #[inline(always)]
    #[must_use]
    pub const fn meets(&self, other: &Self) -> bool {
        !self.and(other).is_empty()
    }

    /// Whether the set is empty.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bits[0] | self.bits[1] | self.bits[2] | self.bits[3] == 0
    }
}

impl Membership {
    /// Of no consequence.
    pub const NONE: Self = Self { workloads: WorkloadSet::EMPTY, rules: RuleSet::EMPTY, flags: 0 };
    /// Flag: the file is a dynamic loader.
    pub const LOADER: u64 = 1;

    /// Adds all of another.
    #[inline(always)]
    pub const fn add(&mut self, other: &Self) {
        self.workloads.add(&other.workloads);
        self.rules.add(&other.rules);
        self.flags |= other.flags;
    }
}
