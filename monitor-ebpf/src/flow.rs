//! Who makes more ordinary events than are read takes no room from others: what a control group may have told is metered.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_ns};
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use monitor_common::{
    limit::{Limit, TICKS_PER_NS},
    settings::Flow,
};

use crate::{emit::add, global, maps::FLOWS};

/// Times that a charge is tried before it is taken without looking.
const TRIES: u32 = 4;

/// Charges an event to the control group of the current process: 1 if that makes more than it may, else 0.
///
/// VERIFIER: a function of its own is walked once, and not once for each way to an event.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_over() -> u64 {
    u64::from(is_over())
}

#[inline(always)]
fn is_over() -> bool {
    let limit = Limit {
        per_token: global!(SETTINGS.events.per_token),
        window: global!(SETTINGS.events.window),
        shift: global!(SETTINGS.events.shift),
        most: global!(SETTINGS.events.most),
    };
    if limit.per_token == 0 {
        return false;
    }
    // SAFETY: helpers without arguments.
    let (group, now) = unsafe { (bpf_get_current_cgroup_id(), bpf_ktime_get_ns() * TICKS_PER_NS) };
    let price = limit.per_token >> (limit.shift & 63);
    let Some(flow) = FLOWS.get_ptr_mut(group) else {
        let _ = FLOWS.insert(group, Flow { bucket: now.wrapping_add(price), suppressed: 0 }, 0);
        return false;
    };
    // SAFETY: fields of a live map value; another group's at worst, if this one's was given away meanwhile.
    let (bucket, suppressed) = unsafe { (&raw mut (*flow).bucket, &raw mut (*flow).suppressed) };
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: as above.
        let seen = unsafe { bucket.read_volatile() };
        let Some(after) = limit.charge(seen, now, price) else {
            add(suppressed, 1);
            return true;
        };
        // SAFETY: as above. SeqCst, because a weaker order gives a wrong result on this target.
        let (_, done) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, seen, after)
        };
        if done {
            return false;
        }
        tries += 1;
    }
    add(bucket, price);
    false
}
