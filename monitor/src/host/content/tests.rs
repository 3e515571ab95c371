use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use super::{
    guard::{Trust, is_settled, trust},
    *,
};

/// SHA-256 of "hello\n", by coreutils.
const HELLO: Hash = [
    0x58, 0x91, 0xb5, 0xb5, 0x22, 0xd5, 0xdf, 0x08, 0x6d, 0x0f, 0xf0, 0xb1, 0x10, 0xfb, 0xd9, 0xd2, 0x1b,
    0xb4, 0xfc, 0x71, 0x63, 0xaf, 0x34, 0xd0, 0x82, 0x86, 0xa2, 0xe8, 0x46, 0xf6, 0xbe, 0x03,
];

struct Case {
    tree: Tree,
    contents: Contents,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "hello\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { tree: Tree::open().unwrap(), contents: Contents::default(), path, _dir: dir }
    }

    fn look(&mut self) -> Content {
        self.contents.look(&self.tree, &self.path, &[HELLO])
    }

    /// Looks until that is the answer. Children that other tests start hold the descriptors of this one, too, until their
    /// exec, so "busy" may come where nobody writes.
    fn until(&mut self, wanted: impl Fn(&Content) -> bool) -> Content {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let content = self.look();
            if wanted(&content) {
                return content;
            }
            assert!(Instant::now() < until, "still: {content}");
        }
    }
}

fn is_verified(content: &Content) -> bool {
    matches!(content, Content::Verified(_))
}

fn is_busy(content: &Content) -> bool {
    *content == Content::Busy
}

/// Whether the directory for temporary files is on a file system that can be relied on (or we are root).
fn reliable() -> bool {
    let kind = rustix::fs::statfs(std::env::temp_dir()).unwrap().f_type as u32;
    match trust(kind) {
        Trust::Full => true,
        Trust::Writes => rustix::process::geteuid().is_root(),
        Trust::None => false,
    }
}

#[test]
fn a_fresh_file_is_verified_as_soon_as_it_has_settled() {
    let mut case = Case::new();
    if !reliable() {
        assert!(matches!(case.look(), Content::Never(Reason::FileSystem | Reason::Writable)));
        return;
    }
    let exe = case.tree.resolve(&case.path).unwrap().exe;
    // How long the test was kept waiting since it wrote the file is not known.
    assert!([Content::TooFresh, Content::Busy, Content::Verified(exe)].contains(&case.look()));
    assert_eq!(case.until(is_verified), Content::Verified(exe));
    assert_eq!(case.contents.look(&case.tree, &case.path, &[]), Content::Other(exe, HELLO));
}

#[test]
fn a_known_version_is_not_read_again_and_a_changed_one_is() {
    let mut case = Case::new();
    if !reliable() {
        return;
    }
    let Content::Verified(before) = case.until(is_verified) else { unreachable!() };
    // A writer doesn't matter until it writes: no second probe, or this would be busy.
    let mut writer = OpenOptions::new().append(true).open(&case.path).unwrap();
    assert_eq!(case.look(), Content::Verified(before));
    writer.write_all(b"more").unwrap();
    case.until(is_busy);
    drop(writer);
    let other = case.until(|content| matches!(content, Content::Other(..)));
    let Content::Other(after, hash) = other else { unreachable!() };
    assert!(hash != HELLO && !after.same(&before));
}

#[test]
fn a_file_that_is_open_or_mapped_for_writing_is_busy() {
    let mut case = Case::new();
    if !reliable() {
        return;
    }
    let writer = OpenOptions::new().read(true).write(true).open(&case.path).unwrap();
    case.until(is_busy);
    // SAFETY: a new mapping of a file that is open for reading and writing.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            6,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            std::os::fd::AsRawFd::as_raw_fd(&writer),
            0,
        )
    };
    assert_ne!(map, libc::MAP_FAILED);
    drop(writer);
    case.until(is_busy);
    // SAFETY: the mapping of above, which nobody uses.
    assert_eq!(unsafe { libc::munmap(map, 6) }, 0);
    case.until(is_verified);
}

#[test]
fn a_change_while_it_is_read_is_noticed() {
    let mut case = Case::new();
    if !reliable() {
        return;
    }
    case.until(is_verified);
    case.contents = Contents::default();
    let exe = case.tree.resolve(&case.path).unwrap().exe;
    let reading = Reading::start(&case.tree, &case.path, exe).ok().unwrap();
    fs::set_permissions(&case.path, fs::Permissions::from_mode(0o700)).unwrap();
    case.contents.reading.insert(exe.key(), reading);
    let path = case.path.clone();
    assert_eq!(case.contents.read(&case.tree, &path, exe), Err(Content::Changed));
    assert!(case.contents.known.is_empty());
}

#[test]
fn what_is_no_file_is_never_opened() {
    let mut case = Case::new();
    let pipe = case._dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    case.path = pipe;
    assert_eq!(case.look(), Content::Never(Reason::Kind));
    case.path = case._dir.path().to_owned();
    assert_eq!(case.look(), Content::Never(Reason::Kind));
    case.path = case._dir.path().join("missing");
    assert_eq!(case.look(), Content::Failed(rustix::io::Errno::NOENT));
    case.path = "/proc/self/status".into();
    assert_eq!(case.look(), Content::Never(Reason::FileSystem));
}

#[test]
fn on_tmpfs_only_what_root_alone_may_write_is_believed() {
    let shm = PathBuf::from("/dev/shm");
    if !rustix::fs::statfs(&shm).is_ok_and(|stat| trust(stat.f_type as u32) == Trust::Writes) {
        assert!(!shm.is_dir() || reliable(), "no tmpfs to try it on");
        return;
    }
    let mut case = Case::new();
    let file = tempfile::Builder::new().tempfile_in(shm).unwrap();
    fs::write(file.path(), "hello\n").unwrap();
    case.path = file.path().to_owned();
    fs::set_permissions(&case.path, fs::Permissions::from_mode(0o775)).unwrap();
    assert_eq!(case.look(), Content::Never(Reason::Writable));
    fs::set_permissions(&case.path, fs::Permissions::from_mode(0o755)).unwrap();
    // A descriptor for writing is a writer, too.
    let _path = file.into_temp_path();
    if rustix::process::geteuid().is_root() {
        case.until(is_verified);
    } else {
        case.until(|content| *content == Content::Never(Reason::Writable));
    }
}

#[test]
fn a_long_file_takes_several_looks() {
    let mut case = Case::new();
    if !reliable() {
        return;
    }
    let file = OpenOptions::new().write(true).open(&case.path).unwrap();
    file.set_len(PER_LOOK + 1).unwrap();
    drop(file);
    case.until(|content| *content == Content::Reading(PER_LOOK, PER_LOOK + 1));
    assert!(matches!(case.look(), Content::Other(exe, _) if exe.size == PER_LOOK + 1));
    assert!(case.contents.reading.is_empty());
    OpenOptions::new().write(true).open(&case.path).unwrap().set_len(MAX_SIZE + 1).unwrap();
    assert_eq!(case.look(), Content::Never(Reason::Size));
}

#[test]
fn a_change_time_of_whole_seconds_takes_longer_to_settle() {
    let exe = |ctime_ns| ExeId { ctime_s: 100, ctime_ns, ..ExeId::NONE };
    assert!(!is_settled(&exe(1), 100, 50_000_000));
    assert!(is_settled(&exe(1), 100, 50_000_001));
    assert!(!is_settled(&exe(0), 101, 999_999_999));
    assert!(is_settled(&exe(0), 102, 0));
    assert!(!is_settled(&exe(1), 99, 0), "in the future");
    assert!(!is_settled(&ExeId { ctime_s: i64::MAX, ..exe(1) }, i64::MIN, 0));
}
