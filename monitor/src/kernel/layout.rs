//! Fills in the table of kernel fields for the running kernel.

use anyhow::{Result, bail};
use monitor_common::layout::{ABSENT, FIELDS, KernelLayout};

use super::btf::Btf;

/// The offsets of all fields; an error names those that this kernel doesn't have.
pub fn resolve(btf: &Btf) -> Result<KernelLayout> {
    let find = |field: &monitor_common::layout::Field| {
        field.paths.iter().find_map(|path| btf.offset(field.structure, path)).unwrap_or(ABSENT)
    };
    let missing: Vec<String> = FIELDS
        .iter()
        .filter(|field| find(field) == ABSENT)
        .map(|field| format!("{}.{}", field.structure, field.paths[0]))
        .collect();
    if !missing.is_empty() {
        bail!(
            "this kernel is laid out in a way that is not known yet: it has no {}; please report it with the output of \
             `uname -r`",
            missing.join(", ")
        );
    }
    Ok(KernelLayout::from_offsets(find))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        // Some build machines have a kernel without BTF: then there is nothing to compare with.
        let Ok(btf) = Btf::running() else { return };
        let layout = resolve(&btf).unwrap();
        assert_ne!(layout.task_tgid, layout.task_pid);
        assert_eq!(layout.dentry_name_len % 4, 0);
    }
}
