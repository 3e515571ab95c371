//! What outlives the agent: maps and links, pinned below one directory of a BPF file system.
//!
//! ```text
//! DIR/v1/shared/MAP               what all generations share
//! DIR/v1/GENERATION/maps/MAP      what the next generation takes over from this one
//! DIR/v1/GENERATION/links/PROGRAM what is attached to hooks of the kernel
//! DIR/v1/interfaces/INDEX-PROGRAM what is attached to interfaces; a new generation replaces the program in place
//! ```
//!
//! A pinned link stays attached when nobody holds it. Taking off is removing the file.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{MapData, MapInfo},
    programs::links::{FdLink, PinnedLink},
};
use monitor_common::event::Ring;
use rustix::{
    fs::{FlockOperation, flock, statfs},
    mount::{MountFlags, mount},
};

use super::control::Control;

/// The layout of what is in the directory. Another version's is never touched.
const VERSION: &str = "v1";

/// The file system's magic number (`BPF_FS_MAGIC`, `include/uapi/linux/magic.h`).
const BPF_FS: u64 = 0xcafe_4a11;

/// Where the kernel expects the file system to be mounted.
const USUAL_MOUNT: &str = "/sys/fs/bpf";

/// Maps that the next generation reads.
const LEFT: [&str; 8] = [
    Ring::Events.map(),
    Ring::Execs.map(),
    Ring::Sockets.map(),
    Ring::Packets.map(),
    "PROCESSES",
    "DECISIONS",
    "DATABASE_COUNTS",
    "TRAFFIC",
];

/// What a map must be like to be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many entries there is room for.
    pub entries: u32,
}

/// Another agent holds the directory.
#[derive(Debug)]
pub struct InUse(PathBuf);

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.display();
        write!(f, "another monitor holds {path}; stop it first, or give this one a --pin-dir of its own")
    }
}

impl std::error::Error for InUse {}

/// The directory, held by one agent.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    keep: AtomicBool,
    control: Mutex<Option<Arc<Control>>>,
    _lock: File,
}

impl Pins {
    /// Opens the directory and makes it if it isn't there. It must be on a BPF file system ([`prepare`]).
    ///
    /// # Errors
    /// When another agent holds it, or the kernel refuses.
    pub fn open(directory: &Path) -> Result<Self> {
        if !directory.ancestors().any(is_bpf_fs) {
            bail!("{} is on no BPF file system", directory.display());
        }
        let root = directory.join(VERSION);
        make(&root)?;
        let lock = File::open(&root).with_context(|| format!("can't open {}", root.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(InUse(root).into());
        }
        for room in ["shared", "interfaces"] {
            make(&root.join(room))?;
        }
        Ok(Self { root, keep: AtomicBool::new(false), control: Mutex::default(), _lock: lock })
    }

    /// Whether what is attached shall stay when the agent ends.
    pub fn keep(&self, keep: bool) {
        self.keep.store(keep, Relaxed);
    }

    /// Whether it shall.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keep.load(Relaxed)
    }

    /// Where a map that all generations share is pinned.
    #[must_use]
    pub fn shared(&self, map: &str) -> PathBuf {
        self.root.join("shared").join(map)
    }

    /// A shared map as it is; none if there is none.
    #[must_use]
    pub fn shared_map(&self, map: &str) -> Option<MapData> {
        MapData::from_pin(self.shared(map)).ok()
    }

    /// What a shared map is like; none if there is none.
    #[must_use]
    pub fn shape(&self, map: &str) -> Option<Shape> {
        let info = MapInfo::from_pin(self.shared(map)).ok()?;
        Some(Shape { key: info.key_size(), value: info.value_size(), entries: info.max_entries() })
    }

    /// Has a new map be made instead of a shared one, if there is one: its memory was asked to be another, it is of an agent of
    /// another version, or nobody knows what is in it.
    ///
    /// # Errors
    /// When the pin can't be removed.
    pub fn give_up(&self, map: &str) -> Result<()> {
        let path = self.shared(map);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("can't remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The entry that says who judges, of which the whole process has one: whoever changes it reads it first. None before
    /// the first generation.
    ///
    /// # Errors
    /// When it isn't what it should be.
    pub fn control(&self) -> Result<Option<Arc<Control>>> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if control.is_none()
            && let Some(map) = self.shared_map("CONTROL")
        {
            *control = Some(Arc::new(Control::new(map)?));
        }
        Ok(control.clone())
    }

    /// The generations that there is something of.
    #[must_use]
    pub fn generations(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        let mut found: Vec<u64> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        found
    }

    /// Makes the room of a generation and pins what the next one will read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin(&self, generation: u64, ebpf: &Ebpf) -> Result<()> {
        for room in ["maps", "links"] {
            make(&self.room(generation, room))?;
        }
        for name in LEFT {
            let Some(map) = ebpf.map(name) else { continue };
            let path = self.room(generation, "maps").join(name);
            map.pin(&path).with_context(|| format!("can't pin {}", path.display()))?;
        }
        Ok(())
    }

    /// A map of a generation.
    ///
    /// # Errors
    /// When it isn't there.
    pub fn map(&self, generation: u64, name: &str) -> Result<MapData> {
        let path = self.room(generation, "maps").join(name);
        MapData::from_pin(&path).with_context(|| format!("can't open {}", path.display()))
    }

    /// Whether a generation has such a map.
    #[must_use]
    pub fn has_map(&self, generation: u64, name: &str) -> bool {
        self.room(generation, "maps").join(name).exists()
    }

    /// Pins what was attached to a hook.
    ///
    /// # Errors
    /// When the kernel refuses; then it is detached.
    pub fn pin_link(&self, generation: u64, program: &str, link: FdLink) -> Result<PinnedLink> {
        let path = self.room(generation, "links").join(program);
        link.pin(&path).with_context(|| format!("can't pin {}", path.display()))
    }

    /// Where what is attached to an interface is pinned.
    #[must_use]
    pub fn interface(&self, index: u32, program: &str) -> PathBuf {
        self.root.join("interfaces").join(format!("{index}-{program}"))
    }

    /// Takes off what is attached to interfaces, but for what is pinned at these paths.
    pub fn take_off_interfaces(&self, but: &[PathBuf]) {
        for path in entries(&self.root.join("interfaces")).filter(|path| !but.contains(path)) {
            remove(&path);
        }
    }

    /// Takes a generation off its hooks, and forgets its maps.
    pub fn remove(&self, generation: u64) {
        // From one hook after the other; what it held, it held until now.
        self.take_off(generation);
        entries(&self.room(generation, "maps")).for_each(|path| remove(&path));
        for room in ["maps", "links", ""] {
            let _ = fs::remove_dir(self.room(generation, room));
        }
    }

    /// Takes a generation off its hooks.
    pub fn take_off(&self, generation: u64) {
        entries(&self.room(generation, "links")).for_each(|path| remove(&path));
    }

    /// Takes off and forgets everything.
    pub fn remove_all(&self) {
        self.generations().into_iter().for_each(|generation| self.remove(generation));
        self.take_off_interfaces(&[]);
        entries(&self.root.join("shared")).for_each(|path| remove(&path));
        for room in ["shared", "interfaces", ""] {
            let _ = fs::remove_dir(self.root.join(room));
        }
        if let Some(parent) = self.root.parent() {
            let _ = fs::remove_dir(parent);
        }
    }

    fn room(&self, generation: u64, room: &str) -> PathBuf {
        self.root.join(generation.to_string()).join(room)
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("can't remove {}: {error}", path.display());
    }
}

fn make(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(directory)
        .with_context(|| format!("can't make {}", directory.display()))
}

/// Sees to it that a directory is on a BPF file system: mounts one where all share it, or for a directory elsewhere there. What
/// is mounted stays.
///
/// # Errors
/// When the kernel refuses.
pub fn prepare(directory: &Path) -> Result<()> {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let usual = Path::new(USUAL_MOUNT);
    if is_bpf_fs(there) {
        make(directory)
    } else if directory.starts_with(usual) {
        mount_bpf_fs(usual).and_then(|()| make(directory))
    } else {
        make(directory).and_then(|()| mount_bpf_fs(directory))
    }
}

fn is_bpf_fs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.f_type as u64 == BPF_FS)
}

fn mount_bpf_fs(at: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", at, "bpf", flags, Some(c"mode=0700"))
        .with_context(|| format!("can't mount a BPF file system at {}", at.display()))?;
    tracing::info!("mounted a BPF file system at {}", at.display());
    Ok(())
}
