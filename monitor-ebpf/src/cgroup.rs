//! New cgroups: finds out which of them policy names before anybody can be in them.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use monitor_common::{count::Stat, glob::START, limits, settings::tag, verifier::opaque};

use crate::{
    emit::stat,
    executable::{Buffer, PATH_MASK, Scratch},
    field, follow,
    kernel::Object,
    maps::CGROUPS,
    path::{end_of, globs, walk},
};

/// A cgroup was made and can't be seen yet: `cgroup_mkdir(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_made(context: BtfTracePointContext) -> i32 {
    made(Object::new(context.arg(0)), context.arg(1));
    0
}

#[inline(always)]
fn made(cgroup: Object, path: *const u8) {
    let hierarchy: i32 = field!(follow!(cgroup, cgroup_root), cgroup_root_id);
    // Version 2 is the hierarchy with the number 0.
    if hierarchy != 0 {
        return;
    }
    if globs().is_none() {
        return;
    }
    let Some(mut buffer) = Buffer::take() else { return stat(Stat::CgroupTableFull) };
    let scratch = buffer.scratch();
    // SAFETY: the buffer is larger than the length.
    let len = unsafe {
        let to = scratch.path.as_mut_ptr();
        bpf_probe_read_kernel_str(to.cast(), limits::CGROUP_PATH as u32, path.cast())
    };
    // The length counts the ending zero byte. A path that fills the buffer may have been longer; what is above it in
    // the tree holds for it all the same.
    if len <= 1 || len as usize >= limits::CGROUP_PATH {
        return stat(Stat::CgroupTableFull);
    }
    let id: u64 = field!(follow!(cgroup, cgroup_kn), kernfs_id);
    enter(scratch, len as usize - 1, id);
}

/// Enters a cgroup that policy names; its path is at the beginning of the path buffer.
#[inline(always)]
pub fn enter(scratch: &Scratch, len: usize, id: u64) {
    let Some(globs) = globs() else { return };
    let state = walk(globs, globs.step(START, tag::CGROUP), limits::CGROUP_PATH, |step| {
        (step < len).then(|| scratch.path[opaque(step) & PATH_MASK])
    });
    let Some(end) = end_of(state) else { return };
    if end.workloads.is_empty() {
        return;
    }
    if CGROUPS.insert(id, end.workloads, 0).is_err() {
        stat(Stat::CgroupTableFull);
    }
}
