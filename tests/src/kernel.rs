//! What the kernel holds, to compare before and after.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Btf,
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};
use aya_obj::btf::BtfKind;

use crate::{
    bpf::{self, EXIT, bpf_attach_type, bpf_cmd, bpf_prog_type, set},
    cgroup, netns,
    wait::{Deadline, eventually},
};

/// BPF programs, maps, links and pins, what is attached to interfaces, and cgroups: one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory(BTreeSet<String>);

impl Inventory {
    /// Lists everything the kernel holds now.
    ///
    /// # Errors
    /// When it refuses to list something.
    pub fn take() -> Result<Self> {
        let mut found = BTreeSet::new();
        for program in loaded_programs() {
            // A program may go between its listing and its opening.
            let Ok(program) = program else { continue };
            found.insert(format!("program {} {}", program.id(), program.name_as_str().unwrap_or("?")));
        }
        for map in loaded_maps() {
            let Ok(map) = map else { continue };
            found.insert(format!("map {} {}", map.id(), map.name_as_str().unwrap_or("?")));
        }
        for link in loaded_links() {
            let Ok(link) = link else { continue };
            found.insert(format!("link {}", link.id()));
        }
        found.extend(netns::attachments().context("listing what is attached to interfaces")?);
        let pins = tree(Path::new("/sys/fs/bpf"))?;
        found.extend(pins.iter().map(|path| format!("pin {}", path.display())));
        let groups = tree(&cgroup::mount()?)?;
        found.extend(
            groups.iter().filter(|path| path.is_dir()).map(|path| format!("cgroup {}", path.display())),
        );
        Ok(Self(found))
    }

    /// Waits until the kernel holds nothing that it didn't hold at the time of this inventory: it frees some
    /// things only after a grace period.
    ///
    /// # Errors
    /// When something is left at the deadline, naming it.
    pub fn wait_until_restored(&self, deadline: Deadline) -> Result<()> {
        let mut left = BTreeSet::new();
        let waited = eventually("the end of what the agent made", deadline, || {
            left = Self::take()?.0.difference(&self.0).cloned().collect();
            Ok(left.is_empty().then_some(()))
        });
        if waited.is_err() {
            bail!("left behind: {left:#?}");
        }
        Ok(())
    }

    /// Lists the programs, maps and links that a process holds, each as its kind and id: on a host where others load programs
    /// meanwhile, what must be gone after it.
    ///
    /// # Errors
    /// When the descriptors of the process can't be read.
    pub fn of(pid: u32) -> Result<Self> {
        let mut held = BTreeSet::new();
        let directory = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&directory).with_context(|| format!("listing {directory}"))?.flatten() {
            // A descriptor may be closed between its listing and its reading.
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for (key, kind) in [("prog_id:", "program"), ("map_id:", "map"), ("link_id:", "link")] {
                let ids = text.lines().filter_map(|line| line.strip_prefix(key));
                held.extend(ids.map(|id| format!("{kind} {}", id.trim())));
            }
        }
        Ok(Self(held))
    }

    /// How many of a kind are in this inventory, which was made by [`of`](Self::of).
    pub fn count(&self, kind: &str) -> usize {
        self.0.iter().filter(|line| line.split(' ').next() == Some(kind)).count()
    }

    /// Whether a program is in this inventory, which was made by [`of`](Self::of).
    pub fn has_program(&self, id: u32) -> bool {
        self.0.contains(&format!("program {id}"))
    }

    /// Waits until the kernel holds nothing of this inventory any more, which was made by [`of`](Self::of).
    ///
    /// # Errors
    /// When something is left at the deadline, naming it.
    pub fn wait_until_gone(&self, deadline: Deadline) -> Result<()> {
        let mut left = Vec::new();
        let waited = eventually("the end of what the agent made", deadline, || {
            let now = Self::take()?.0;
            let id = |line: &String| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
            left = now.into_iter().filter(|line| self.0.contains(&id(line))).collect();
            Ok(left.is_empty().then_some(()))
        });
        if waited.is_err() {
            bail!("still in the kernel: {}", left.join(", "));
        }
        Ok(())
    }

    /// What is here and not in an earlier inventory.
    pub fn since(&self, earlier: &Self) -> Vec<String> {
        self.0.difference(&earlier.0).cloned().collect()
    }
}

/// Detaches the links of a program by force, as root may who isn't the one that made them; how many there were. `pid` is the
/// process that holds the program.
///
/// # Errors
/// When the kernel refuses it, or the program has no link.
pub fn detach(pid: u32, program: &str) -> Result<usize> {
    let held = Inventory::of(pid)?;
    let named = |id: u32| {
        let is_it =
            |found: aya::programs::ProgramInfo| found.id() == id && found.name_as_str() == Some(program);
        loaded_programs().flatten().any(is_it)
    };
    let mut detached = 0;
    for link in loaded_links().flatten() {
        let ours = held.0.contains(&format!("link {}", link.id()));
        if !ours || !named(link.program_id()) {
            continue;
        }
        let (mut open, mut detach) = (bpf::attributes(), bpf::attributes());
        open.__bindgen_anon_6.__bindgen_anon_1.link_id = link.id();
        // SAFETY: there are no pointers in these attributes.
        let fd = unsafe { bpf::make(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut open) };
        let fd = fd.with_context(|| format!("opening link {}", link.id()))?;
        detach.link_detach.link_fd = fd.as_raw_fd() as u32;
        // SAFETY: as above.
        let done = unsafe { bpf::command(bpf_cmd::BPF_LINK_DETACH, &mut detach) };
        done.with_context(|| format!("detaching link {}", link.id()))?;
        detached += 1;
    }
    ensure!(detached > 0, "program {program} of process {pid} has no link");
    Ok(detached)
}

/// Every path below a directory; none when there is no such directory.
fn tree(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("listing {}", directory.display())),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether this kernel takes a program at the beginning of a function of its own, found out by giving it one that does nothing.
///
/// # Errors
/// When it refuses for another reason than that it doesn't take any.
pub fn takes_programs_at(function: &str) -> Result<bool> {
    let types = Btf::from_sys_fs().context("reading the kernel's types")?;
    let attach_to = types.id_by_type_name_kind(function, BtfKind::Func)?;
    let (kind, attach) = (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_FENTRY);
    let instructions = &[set(0, 0), EXIT];
    match (bpf::Program { kind, attach, attach_to, name: "empty", instructions }).load() {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("an empty program at {function}")),
    }
}
