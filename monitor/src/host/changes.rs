//! Hears at once when a path of the policy may lead to another file, instead of at the next look.
//!
//! Every directory that a path goes through is watched for what happens to the name that is looked up in it, symbolic
//! links included (`/opt/app/current/bin/api`), and the file at the end for changes of itself. Where the path ends early,
//! the last directory is watched for the name that is missing. What this can't hear: mounts (they have a descriptor of
//! their own to wait for), and changes on servers of network file systems.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::OsStr,
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{
        FileType, Mode, OFlags,
        inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    },
    io::{Errno, dup},
};

use super::file::{Tree, own_link};

/// Most directories and files that are watched. Each takes about 1 KiB of the kernel's memory.
const WATCHES: usize = 16_384;
/// Most symbolic links that one path may go through, as in the kernel.
const LINKS: usize = 40;
/// Most bytes of events that are taken per call; the rest stays, and wakes up again.
const EVENTS: usize = 64 * 1024;

/// Watches what paths lead to.
#[derive(Debug)]
pub struct Changes {
    queue: OwnedFd,
    watched: Watched,
    left_out: u64,
}

/// By watch, the names that matter in that directory; for a file none.
type Watched = HashMap<i32, HashSet<Vec<u8>>>;

impl Changes {
    /// Watches nothing yet: call [`Self::update`].
    pub fn new() -> Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context(
            "can't watch files (inotify): raise fs.inotify.max_user_instances, or end programs that use many of them",
        )?;
        Ok(Self { queue, watched: HashMap::new(), left_out: 0 })
    }

    /// Readable when there is something to [`Self::drain`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// Paths that are not watched to their end, because there are too many (`fs.inotify.max_user_watches` is another bound)
    /// or a directory refuses: changes of these are noticed by looking only.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Watches these paths and no others. It takes some 20 µs a path, and must be called after each change and whenever the
    /// mounts change; *before* looking at what the paths lead to, so that nothing falls in between.
    pub fn update<'a>(&mut self, tree: &Tree, paths: impl IntoIterator<Item = &'a Path>) {
        let mut walk = Walk { queue: self.queue.as_fd(), watched: HashMap::new() };
        let walked = paths.into_iter().map(|path| walk.path(tree, path));
        let left_out = walked.filter(Result::is_err).count() as u64;
        let watched = walk.watched;
        for gone in self.watched.keys().filter(|watch| !watched.contains_key(watch)) {
            // It may have ended by itself, with its directory.
            let _ = inotify::remove_watch(&self.queue, *gone);
        }
        (self.watched, self.left_out) = (watched, left_out);
    }

    /// Takes what has happened; whether any of it may concern a path. Never waits.
    pub fn drain(&mut self) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        let mut events = Reader::new(&self.queue, &mut buffer);
        let (mut concerned, mut taken) = (false, 0);
        while taken < EVENTS {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            // A header, and the name filled up.
            taken += 32 + name.map_or(0, <[u8]>::len);
            concerned |= if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                true
            } else if event.events().contains(ReadFlags::IGNORED) {
                // Gone with its directory or file system; nothing if it was us who took it out.
                self.watched.remove(&event.wd()).is_some()
            } else {
                match (self.watched.get(&event.wd()), name) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(names), Some(name)) => names.contains(name),
                }
            };
        }
        concerned
    }
}

/// Goes along paths and watches.
struct Walk<'a> {
    queue: BorrowedFd<'a>,
    watched: Watched,
}

impl Walk<'_> {
    /// Follows one path as far as it leads, link by link as the kernel does.
    fn path(&mut self, tree: &Tree, path: &Path) -> rustix::io::Result<()> {
        let mut rest: VecDeque<Vec<u8>> = components(path.as_os_str().as_bytes());
        let mut dirs = vec![dup(tree.root())?];
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == b".." {
                // Above the root is the root.
                dirs.truncate(dirs.len().saturating_sub(1).max(1));
                continue;
            }
            let Some(dir) = dirs.last() else { break };
            // First the watch, then the look: a change in between is heard.
            self.watch(dir.as_fd(), Some(&name))?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(next) = rustix::fs::openat(dir, OsStr::from_bytes(&name), flags, Mode::empty()) else {
                return Ok(());
            };
            match FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) {
                FileType::Symlink if links < LINKS => {
                    links += 1;
                    let target = rustix::fs::readlinkat(&next, c"", Vec::new())?.into_bytes();
                    if target.starts_with(b"/") {
                        dirs.truncate(1);
                    }
                    components(&target).into_iter().rev().for_each(|part| rest.push_front(part));
                }
                FileType::Symlink => return Ok(()),
                FileType::Directory => dirs.push(next),
                _ => {
                    if rest.is_empty() {
                        self.watch(next.as_fd(), None)?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Watches a directory for a name, or a file.
    fn watch(&mut self, what: BorrowedFd<'_>, name: Option<&[u8]>) -> rustix::io::Result<()> {
        let mut flags = WatchFlags::ATTRIB | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE_SELF;
        if name.is_some() {
            flags |= WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::DELETE_SELF;
        }
        if self.watched.len() >= WATCHES {
            return Err(Errno::NOSPC);
        }
        let watch = inotify::add_watch(self.queue, own_link(what), flags)?;
        self.watched.entry(watch).or_default().extend(name.map(<[u8]>::to_vec));
        Ok(())
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.map(<[u8]>::to_vec).collect()
}
