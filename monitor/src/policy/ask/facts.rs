//! Finds out what a request is about: files, users and cgroups that may not exist on this host.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use monitor_common::{
    event::exec::flags,
    identity::{ExeId, FileEntry, FileKey},
    limits,
    policy::{Membership, WorkloadSet},
};
use sha2::{Digest as _, Sha256};

use crate::{
    config::Class,
    event::Text,
    host::{accounts, file::Tree},
    policy::{Accounts, Compiled},
};

/// Users and groups: those of this host, and names that it doesn't know.
///
/// A policy is often written on another host than the one that it is for: there a name has some number, and always the
/// same.
pub struct AnyAccounts {
    host: Option<accounts::Accounts>,
    invented: RefCell<HashMap<(char, String), u32>>,
}

/// The first number of users and groups that are unknown here, in the range that nothing assigns from
/// (<https://systemd.io/UIDS-GIDS>, above 2^31).
const INVENTED: u32 = 0xf000_0000;

impl AnyAccounts {
    /// Over the accounts of this host, if they can be read.
    #[must_use]
    pub fn new(tree: Option<&Tree>) -> Self {
        let host = tree.and_then(|tree| accounts::Accounts::read(tree).ok());
        Self { host, invented: RefCell::default() }
    }

    fn invent(&self, kind: char, name: &str) -> u32 {
        let mut invented = self.invented.borrow_mut();
        let next = INVENTED + invented.len() as u32;
        *invented.entry((kind, name.to_owned())).or_insert(next)
    }
}

impl Accounts for AnyAccounts {
    fn user(&self, name: &str) -> Result<u32> {
        let known = self.host.as_ref().and_then(|host| host.user(name).ok());
        Ok(known.unwrap_or_else(|| self.invent('u', name)))
    }

    fn group(&self, name: &str) -> Result<u32> {
        let known = self.host.as_ref().and_then(|host| host.group(name).ok());
        Ok(known.unwrap_or_else(|| self.invent('g', name)))
    }
}

/// A file that a request names.
#[derive(Clone, Debug)]
pub struct Located {
    /// As it was given.
    pub given: String,
    /// Where it lies in the host's tree; empty for files without a place, and where that is too long to be compared.
    pub path: Vec<u8>,
    /// What identifies it; invented for a file that doesn't exist here.
    pub exe: ExeId,
    /// Flags of [`flags`].
    pub notes: u16,
}

/// The files of this host, and those that are only spoken of.
pub struct Files<'a> {
    tree: Option<&'a Tree>,
    invented: HashMap<Vec<u8>, ExeId>,
    known: HashMap<FileKey, FileEntry>,
    /// Paths of the policy whose content isn't the one that it gives.
    wrong: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    /// Looks up the files that the policy names by path.
    #[must_use]
    pub fn new(tree: Option<&'a Tree>, policy: &Compiled) -> Self {
        let mut files = Self { tree, invented: HashMap::new(), known: HashMap::new(), wrong: Vec::new() };
        for named in policy.files() {
            let (exe, _) = files.identify(&named.path);
            let fresh = FileEntry { exe, member: Membership::NONE, unverified: WorkloadSet::EMPTY };
            let believed = named.sha256.is_empty() || files.content_is(&named.path, &named.sha256);
            let entry = files.known.entry(exe.key()).or_insert(fresh);
            let mut member = named.member;
            if !believed {
                entry.unverified.add(&member.workloads);
                member.workloads = WorkloadSet::EMPTY;
                files.wrong.push(named.path.clone());
            }
            entry.member.add(&member);
        }
        files
    }

    /// Where files are looked for.
    pub(super) fn tree(&self) -> Option<&'a Tree> {
        self.tree
    }

    /// The files that the policy names by path, as the kernel programs know them.
    #[must_use]
    pub fn known(&self) -> &HashMap<FileKey, FileEntry> {
        &self.known
    }

    /// Whether the policy gives the content of this file, and it has another.
    #[must_use]
    pub fn is_wrong(&self, exe: &ExeId) -> bool {
        self.known.get(&exe.key()).is_some_and(|entry| !entry.unverified.is_empty())
    }

    /// Finds a file, or takes it as it is named.
    ///
    /// # Errors
    /// If the text can't name a file.
    pub fn locate(&mut self, given: &str) -> Result<Located> {
        let nowhere = |notes, ino| {
            let exe = ExeId { ino, dev: u32::MAX, ..ExeId::NONE };
            Ok(Located { given: given.to_owned(), path: Vec::new(), exe, notes })
        };
        let class = Class::ALL.iter().find(|class| class.name() == given);
        match class {
            Some(Class::Memfd) => return nowhere(flags::MEMFD, u64::MAX),
            Some(Class::Deleted) => return nowhere(flags::DELETED, u64::MAX - 1),
            Some(Class::Unplaced) => return nowhere(flags::UNPLACED, u64::MAX - 2),
            Some(Class::Loader) => bail!(
                "@loader is known by its path: name the dynamic loader itself, for example /lib64/ld-linux-x86-64.so.2"
            ),
            None => {}
        }
        let (exe, path) = self.identify(absolute(given)?);
        let too_long =
            path.len() > limits::PATH || path.split(|byte| *byte == b'/').count() > limits::PATH_DEPTH;
        let (path, notes) = if too_long { (Vec::new(), flags::PATH_TRUNCATED) } else { (path, 0) };
        Ok(Located { given: given.to_owned(), path, exe, notes })
    }

    /// Where a socket lies, which may not exist.
    ///
    /// # Errors
    /// If the text can't name one.
    pub fn socket(&self, given: &str) -> Result<Vec<u8>> {
        Ok(self.real(absolute(given)?).into_os_string().into_encoded_bytes())
    }

    /// The identity and the place of a file.
    fn identify(&mut self, path: &Path) -> (ExeId, Vec<u8>) {
        if let Some(found) = self.tree.and_then(|tree| tree.resolve(path).ok()) {
            return (found.exe, found.path.into_os_string().into_encoded_bytes());
        }
        let real = self.real(path).into_os_string().into_encoded_bytes();
        let ino = self.invented.len() as u64 + 1;
        let exe = *self.invented.entry(real.clone()).or_insert(ExeId { ino, dev: u32::MAX, ..ExeId::NONE });
        (exe, real)
    }

    /// Follows the symbolic links of a path as far as it exists.
    fn real(&self, path: &Path) -> PathBuf {
        let plain = path.components().fold(PathBuf::new(), |mut plain, part| {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                other => plain.push(other),
            }
            plain
        });
        let Some(tree) = self.tree else { return plain };
        for above in plain.ancestors().skip(1) {
            if let (Ok(found), Ok(rest)) = (tree.resolve(above), plain.strip_prefix(above)) {
                return found.path.join(rest);
            }
        }
        plain
    }

    /// Whether a file has one of these contents. One that can't be read here is believed to.
    fn content_is(&self, path: &Path, wanted: &[[u8; 32]]) -> bool {
        let Some(Ok(Some(file))) = self.tree.map(|tree| tree.open_regular(path)) else { return true };
        let mut hash = Sha256::new();
        match io::copy(&mut File::from(file), &mut Hashing(&mut hash)) {
            Ok(_) => wanted.contains(&hash.finalize().into()),
            Err(_) => true,
        }
    }
}

/// Hashes what is written to it.
struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn absolute(text: &str) -> Result<&Path> {
    let shown = || Text::from(text).quoted().to_string();
    if text.contains('\0') {
        bail!("{} has a zero byte, and no path can have one", shown());
    }
    if !text.starts_with('/') {
        bail!("{} is no absolute path; write it from the root, for example /usr/bin/psql", shown());
    }
    Ok(Path::new(text))
}

/// The number of an account.
pub(super) fn id(text: &str, look_up: impl Fn(&str) -> Result<u32>) -> Result<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let id: u32 = text.parse().ok().filter(|id| *id != u32::MAX).with_context(|| {
            format!("{text} is no number of a user or group: they go up to {}", u32::MAX - 1)
        })?;
        return Ok(id);
    }
    look_up(text)
}

/// The paths of a cgroup and those above it, from the root down.
pub(super) fn levels(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let below = ends.chain([path.len()]).filter(|end| *end > 1).map(|end| &path[..end]);
    std::iter::once(&b"/"[..]).chain(below).take(limits::CGROUP_DEPTH as usize)
}

/// The path of a cgroup, as it is written in a policy.
pub(super) fn cgroup(path: &str) -> Result<Vec<u8>> {
    let plain = path == "/" || !path.ends_with('/');
    if !plain || !path.starts_with('/') || path.contains("//") || path.contains('\0') {
        bail!(
            "{} is no path of a cgroup; write it from the mount of the cgroup v2 tree, without a slash at the end, for \
             example /system.slice/api.service",
            Text::from(path).quoted()
        );
    }
    Ok(Path::new(path).as_os_str().as_bytes().to_vec())
}
