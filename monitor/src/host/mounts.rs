//! The file systems of the host's tree, so that a file can be told where it really lies.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use monitor_common::identity::kernel_dev;

use super::escape;

/// One line of `mountinfo` (`Documentation/filesystems/proc.rst`, section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLine {
    /// Id of the mount.
    pub id: u64,
    /// Device in kernel form.
    pub dev: u32,
    /// What part of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
}

/// The mounts of the host's mount namespace, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    lines: Vec<MountLine>,
    by_id: HashMap<u64, u32>,
}

impl Mounts {
    /// Where the host's mounts are listed: those of process 1, or our own if we may not read them.
    #[must_use]
    pub fn source() -> &'static Path {
        let host = Path::new("/proc/1/mountinfo");
        if fs::File::open(host).is_ok() { host } else { Path::new("/proc/self/mountinfo") }
    }

    /// Reads them.
    pub fn read() -> Result<Self> {
        let source = Self::source();
        let text = fs::read(source).with_context(|| format!("can't read {}", source.display()))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        let lines: Vec<MountLine> = text.split(|byte| *byte == b'\n').filter_map(line).collect();
        let by_id = lines.iter().map(|line| (line.id, line.dev)).collect();
        Self { lines, by_id }
    }

    /// Device of a mount in kernel form. Differs from what `stat` says on file systems with several trees (btrfs).
    #[must_use]
    pub fn dev(&self, mount_id: u64) -> Option<u32> {
        self.by_id.get(&mount_id).copied()
    }

    /// Where a mount is.
    #[must_use]
    pub fn point(&self, mount_id: u64) -> Option<&Path> {
        self.lines.iter().find(|line| line.id == mount_id).map(|line| line.point.as_path())
    }

    /// The mounts that give files their place: of each file system, those that show a part of it that no other mount
    /// shows as well. A bind mount of a directory is not one; the file systems below `/` are.
    pub fn places(&self) -> impl Iterator<Item = &MountLine> {
        self.lines
            .iter()
            .enumerate()
            .filter(|(index, line)| {
                !self.lines.iter().enumerate().any(|(other_index, other)| {
                    other.dev == line.dev
                        && line.root.starts_with(&other.root)
                        && (other.root != line.root || other_index < *index)
                })
            })
            .map(|(_, line)| line)
    }
}

fn line(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || fields.next().map(unescape);
    let id = std::str::from_utf8(&text()?).ok()?.parse().ok()?;
    text()?;
    let device = String::from_utf8(text()?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let path = |bytes: Vec<u8>| PathBuf::from(OsStr::from_bytes(&bytes));
    Some(MountLine {
        id,
        dev: kernel_dev(major.parse().ok()?, minor.parse().ok()?),
        root: path(text()?),
        point: path(text()?),
    })
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    escape::undo(field, br"\", 3, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:20 / /tmp rw - tmpfs tmpfs rw
23 21 8:1 /home/a /srv/a\\040b rw - ext4 /dev/sda1 rw
24 21 0:30 /@ /mnt rw - btrfs /dev/sdb rw
25 21 0:30 /@ /again rw - btrfs /dev/sdb rw
26 21 0:30 /@home /home\xff rw - btrfs /dev/sdb rw
nonsense
";

    #[test]
    fn only_mounts_that_show_something_new_give_a_place() {
        let mounts = Mounts::parse(SAMPLE);
        let places: Vec<u64> = mounts.places().map(|line| line.id).collect();
        assert_eq!(places, [21, 22, 24, 26]);
        assert_eq!(mounts.dev(23), Some(8 << 20 | 1));
        assert_eq!(mounts.dev(99), None);
    }

    #[test]
    fn escapes_and_odd_bytes_are_kept() {
        let mounts = Mounts::parse(SAMPLE);
        assert_eq!(mounts.lines[2].point, Path::new("/srv/a b"));
        assert_eq!(mounts.lines[5].point.as_os_str().as_bytes(), b"/home\xff");
    }
}
