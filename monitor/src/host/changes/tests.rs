use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

struct Case {
    changes: Changes,
    tree: Tree,
    dir: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Case {
    /// With the directory `real/bin`, the links `current` to `real` and `alias` to `current/bin/api`, and
    /// `real/bin/api`; watching `alias`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/bin")).unwrap();
        fs::write(dir.path().join("real/bin/api"), "1").unwrap();
        symlink("real", dir.path().join("current")).unwrap();
        symlink("./current/../current/bin/api", dir.path().join("alias")).unwrap();
        let paths = vec![dir.path().join("alias")];
        let mut case = Self { changes: Changes::new().unwrap(), tree: Tree::open().unwrap(), dir, paths };
        case.update();
        case
    }

    fn update(&mut self) {
        self.changes.update(&self.tree, self.paths.iter().map(PathBuf::as_path));
        assert_eq!(self.changes.left_out(), 0);
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Inotify tells before the call that caused it returns, so nothing is waited for.
    fn hears(&mut self, does: impl FnOnce(&Self)) -> bool {
        self.update();
        self.changes.drain();
        does(self);
        let mut fds = [PollFd::new(&self.changes.queue, PollFlags::IN)];
        let woken = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0;
        let heard = self.changes.drain();
        assert!(woken || !heard);
        heard
    }
}

#[test]
fn every_way_to_change_what_a_path_leads_to_is_heard() {
    let mut case = Case::new();
    assert!(case.hears(|case| {
        fs::write(case.at("new"), "2").unwrap();
        fs::rename(case.at("new"), case.at("real/bin/api")).unwrap();
    }));
    assert!(case.hears(|case| fs::write(case.at("real/bin/api"), "3").unwrap()));
    assert!(case.hears(|case| {
        fs::set_permissions(case.at("real/bin/api"), fs::Permissions::from_mode(0o700)).unwrap();
    }));
    assert!(case.hears(|case| fs::hard_link(case.at("real/bin/api"), case.at("elsewhere")).unwrap()));
    // The other name goes: that changes the file, too.
    assert!(case.hears(|case| fs::remove_file(case.at("elsewhere")).unwrap()));
    assert!(case.hears(|case| fs::remove_file(case.at("real/bin/api")).unwrap()));
    assert!(case.hears(|case| fs::write(case.at("real/bin/api"), "4").unwrap()));
    assert!(case.hears(|case| fs::rename(case.at("real/bin"), case.at("real/old")).unwrap()));
    assert!(case.hears(|case| fs::rename(case.at("real/old"), case.at("real/bin")).unwrap()));
}

#[test]
fn a_link_on_the_way_that_is_switched_is_heard() {
    let mut case = Case::new();
    fs::create_dir_all(case.at("next/bin")).unwrap();
    assert!(case.hears(|case| {
        symlink("next", case.at("new")).unwrap();
        fs::rename(case.at("new"), case.at("current")).unwrap();
    }));
    // Missing below the new target, until it is made.
    assert!(case.hears(|case| fs::write(case.at("next/bin/api"), "5").unwrap()));
    assert!(!case.hears(|case| fs::write(case.at("real/bin/api"), "6").unwrap()), "not on the way any more");
}

#[test]
fn other_names_in_a_watched_directory_are_nobodys_concern() {
    let mut case = Case::new();
    assert!(!case.hears(|case| fs::write(case.at("real/bin/other"), "1").unwrap()));
    assert!(!case.hears(|case| fs::rename(case.at("real/bin/other"), case.at("other")).unwrap()));
}

#[test]
fn missing_directories_and_endless_links_do_no_harm() {
    let mut case = Case::new();
    symlink("loop", case.at("loop")).unwrap();
    case.paths =
        ["loop", "a/b/c", "real/bin/api/x", "../../../../../../../nowhere/x"].map(|p| case.at(p)).into();
    assert!(!case.hears(|_| {}));
    assert!(case.hears(|case| fs::create_dir(case.at("a")).unwrap()));
    assert!(case.hears(|case| fs::create_dir(case.at("a/b")).unwrap()));
    assert!(case.hears(|case| fs::write(case.at("a/b/c"), "").unwrap()));
    assert!(case.hears(|case| fs::remove_dir_all(case.at("a")).unwrap()));
    case.paths.clear();
    assert!(!case.hears(|case| fs::create_dir(case.at("a")).unwrap()));
    assert!(case.changes.watched.is_empty());
}

#[test]
fn more_events_than_the_queue_holds_are_a_change() {
    let mut case = Case::new();
    let most: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if most > 200_000 {
        return;
    }
    let mut heard = false;
    case.changes.drain();
    for number in 0..=most {
        // Equal events in a row are one, so two names take turns.
        fs::write(case.at(&format!("real/bin/other-{}", number % 2)), "").unwrap();
    }
    loop {
        let mut fds = [PollFd::new(&case.changes.queue, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 0 {
            break;
        }
        heard |= case.changes.drain();
    }
    assert!(heard);
}
