//! The table of sources, in the kernel: finding a source's place, and giving it one.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};
use monitor_common::{
    addr::Addr,
    sources::{self, Set, Slot, WAYS},
};

use crate::{global, maps::SOURCES};

/// Reads a number of a map value that other CPUs write.
#[inline(always)]
pub fn read(at: *const u64) -> u64 {
    // SAFETY: callers pass fields of live map values.
    unsafe { core::ptr::read_volatile(at) }
}

/// Replaces a number if it is still the one that was seen; what it was instead, if not.
#[inline(always)]
pub fn replace(at: *mut u64, seen: u64, by: u64) -> Result<(), u64> {
    // SAFETY: callers pass fields of live map values. SeqCst, because a weaker order gives a wrong result on this target.
    let (found, done) =
        unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(at, seen, by) };
    if done { Ok(()) } else { Err(found) }
}

/// A place of a set.
#[inline(always)]
pub fn slot(set: u64, way: u64) -> Option<*mut Slot> {
    let set = SOURCES.get_ptr_mut(set as u32)?;
    // SAFETY: inside of the live map value: the place is one of those that a set has.
    Some(unsafe { (&raw mut (*set).slots).cast::<Slot>().add(way as usize & (WAYS - 1)) })
}

/// Says who has a place, for the agent.
#[inline(always)]
pub fn put_addr(set: u64, way: u64, addr: Addr) {
    let Some(set) = SOURCES.get_ptr_mut(set as u32) else { return };
    // SAFETY: as above.
    unsafe { (&raw mut (*set).addrs).cast::<Addr>().add(way as usize & (WAYS - 1)).write(addr) };
}

#[inline(always)]
fn tag_at(set: *mut Set, way: usize) -> *mut u64 {
    // SAFETY: as above.
    unsafe { (&raw mut (*set).tags).cast::<u64>().add(way & (WAYS - 1)) }
}

/// Where a source's place is, if it has one.
#[inline(always)]
pub fn find(tag: u64) -> Option<(u64, u64)> {
    let index = sources::set_of(tag, global!(SETTINGS.source_sets));
    let set = SOURCES.get_ptr_mut(index)?;
    let mut probe = 0;
    while probe < WAYS {
        let way = (tag as usize).wrapping_add(probe) & (WAYS - 1);
        if read(tag_at(set, way)) == tag {
            return Some((index as u64, way as u64));
        }
        probe += 1;
    }
    None
}

/// Gives a source a place: a free one, else the one whose owner has owed nothing for the longest time. `None` if all owners
/// owe something, or another CPU was faster.
#[inline(always)]
pub fn claim(tag: u64, now: u64) -> Option<(u64, u64)> {
    let index = sources::set_of(tag, global!(SETTINGS.source_sets));
    let set = SOURCES.get_ptr_mut(index)?;
    let (mut best, mut owner, mut quiet_since) = (0, 0, u64::MAX);
    let mut probe = 0;
    while probe < WAYS {
        let way = (tag as usize).wrapping_add(probe) & (WAYS - 1);
        let slot = slot(index as u64, way as u64)?;
        let who = read(tag_at(set, way));
        let since = if who == 0 { 0 } else { last(slot) };
        if since < quiet_since {
            (best, owner, quiet_since) = (way, who, since);
        }
        probe += 1;
    }
    if quiet_since > now {
        return None;
    }
    // Only from the owner whose buckets were looked at.
    replace(tag_at(set, best), owner, tag).ok()?;
    Some((index as u64, best as u64))
}

/// When all of a place's buckets will be full, or have been for as long.
#[inline(always)]
fn last(slot: *const Slot) -> u64 {
    // SAFETY: fields of a live map value.
    let times =
        unsafe { [&raw const (*slot).packets, &raw const (*slot).connections, &raw const (*slot).bytes] };
    let (a, b, c) = (read(times[0]), read(times[1]), read(times[2]));
    let most = if a > b { a } else { b };
    if most > c { most } else { c }
}

/// Adds to a bucket that is contended, and takes it back if it is too much then: 1 if not, else 0.
#[inline(always)]
pub fn take_anyway(bucket: *mut u64, now: u64, price: u64, window: u64) -> u64 {
    // SAFETY: callers pass fields of live map values; for the order see `replace`.
    let before = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(bucket, price) };
    let start = if before > now { before } else { now };
    if start.wrapping_sub(now).wrapping_add(price) <= window {
        return 1;
    }
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(bucket, price.wrapping_neg()) };
    0
}
