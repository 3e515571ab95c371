//! Who besides root may change a file: who may write it, or put another one in its place.
//!
//! The agent does as root what its configuration says, so whoever may write that is root. Looked at are the file, every
//! directory on the way to it, and both for every symbolic link on that way.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::fs::StatVfsMountFlags;

use crate::event::Text;

/// Group and others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner of a file may remove or rename it (`/tmp`).
const STICKY: u32 = 0o1000;
/// As many as the kernel follows.
const LINKS: usize = 40;

/// What somebody else may change, so that it can't be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untrusted {
    /// The culprit: the file itself or a directory or link on the way to it.
    pub path: PathBuf,
    /// Its permissions, as `chmod` takes them.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
    /// Whether it is the owner that isn't trusted, or who else may write.
    pub by_owner: bool,
}

impl Untrusted {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let path = self.path.to_string_lossy();
        if self.by_owner { format!("`chown root {path}`") } else { format!("`chmod go-w {path}`") }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, owner, .. } = self;
        let path = self.path.to_string_lossy();
        let path = Text::from(&*path);
        match self.by_owner {
            true => write!(f, "{path} belongs to user {owner} (mode {mode:04o})"),
            false => write!(f, "{path} has mode {mode:04o}, so others than its owner may write it"),
        }
    }
}

/// Sees whether only root and the user of this process may change a file or directory, and what leads to it.
///
/// A directory with the sticky bit is no way to replace what somebody else owns. What is mounted read-only can't be changed
/// through its directories, whatever their mode: that is how Kubernetes mounts a ConfigMap.
///
/// # Errors
/// What others may change; an error of the file system if it can't be told.
pub fn check(path: &Path) -> io::Result<Result<(), Untrusted>> {
    let own = rustix::process::geteuid().as_raw();
    let mut todo: VecDeque<OsString> = parts(&std::path::absolute(path)?);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    if let Err(found) = look(&at, own, !todo.is_empty())? {
        return Ok(Err(found));
    }
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(&part);
        if let Err(found) = look(&at, own, !todo.is_empty())? {
            return Ok(Err(found));
        }
        if fs::symlink_metadata(&at)?.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = fs::read_link(&at)?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut rest = parts(&target);
            rest.append(&mut todo);
            todo = rest;
        }
    }
    Ok(Ok(()))
}

/// The names on a path, without what leads nowhere.
fn parts(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// Looks at one thing by itself; `inner`: something below it is asked for, which is looked at later.
fn look(path: &Path, own: u32, inner: bool) -> io::Result<Result<(), Untrusted>> {
    let metadata = fs::symlink_metadata(path)?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let untrusted = |by_owner| Err(Untrusted { path: path.to_owned(), mode, owner, by_owner });
    let read_only =
        || rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    if owner != 0 && owner != own {
        return Ok(untrusted(true));
    }
    // A link has no permissions of its own.
    let open = !metadata.is_symlink() && mode & OTHERS_WRITE != 0;
    let harmless = metadata.is_dir() && (inner && mode & STICKY != 0 || read_only());
    Ok(if open && !harmless { untrusted(false) } else { Ok(()) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What is found about a file, by name and mode.
    fn found(path: &Path) -> Option<(String, u32, bool)> {
        let found = check(path).unwrap().err()?;
        Some((found.path.file_name().unwrap().to_string_lossy().into_owned(), found.mode, found.by_owner))
    }

    #[test]
    fn every_directory_and_link_on_the_way_counts() {
        // Below a sticky directory that everybody may write to.
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("etc");
        fs::create_dir(&dir).unwrap();
        mode(&dir, 0o755);
        let file = dir.join("file");
        fs::write(&file, "").unwrap();
        mode(&file, 0o644);
        assert_eq!(found(&file), None);
        mode(&file, 0o664);
        assert_eq!(found(&file), Some(("file".into(), 0o664, false)));
        mode(&file, 0o646);
        assert_eq!(found(&file), Some(("file".into(), 0o646, false)));
        mode(&file, 0o600);
        mode(&dir, 0o775);
        assert_eq!(found(&file), Some(("etc".into(), 0o775, false)));
        // Nobody can take the file away, but in a directory that is asked for itself anybody could put others.
        mode(&dir, 0o1777);
        assert_eq!(found(&file), None);
        assert_eq!(found(&dir), Some(("etc".into(), 0o1777, false)));
        mode(&dir, 0o755);
        // The way over a link is as good as what the link lies in.
        let open = temporary.path().join("open");
        fs::create_dir(&open).unwrap();
        mode(&open, 0o777);
        symlink("../etc/file", open.join("link")).unwrap();
        assert_eq!(found(&open.join("link")), Some(("open".into(), 0o777, false)));
        mode(&open, 0o755);
        assert_eq!(found(&open.join("link")), None);
        mode(&file, 0o622);
        assert_eq!(found(&open.join("link")), Some(("file".into(), 0o622, false)));
        symlink("loop", open.join("loop")).unwrap();
        assert!(check(&open.join("loop")).is_err());
        assert!(check(&open.join("nothing")).is_err());
    }

    #[test]
    fn a_strangers_file_is_named_with_its_owner_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        if chown(&file, Some(12345), None).is_err() {
            // Only root can give files away.
            assert!(!rustix::process::geteuid().is_root());
            return;
        }
        let untrusted = check(&file).unwrap().unwrap_err();
        assert!(untrusted.to_string().contains("belongs to user 12345"), "{untrusted}");
        assert_eq!(untrusted.remedy(), format!("`chown root {}`", file.display()));
    }
}
