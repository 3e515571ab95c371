//! Launchers: every way a program gets to run.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::PermissionsExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::Command,
    ptr, thread,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{Outcomes, error_name, say, wait_for_line, words::Words};

/// The file that the program `first` leaves behind when it got to run.
const MADE: &str = "made";

/// What became of a number of runs.
#[derive(Default)]
struct Runs {
    started: Outcomes,
    ended: Outcomes,
    pids: Vec<u32>,
    made: u64,
}

/// `spawn program=PATH [count=N] [threads=T] [pids=FILE] [wait=1] [-- argument...]`: runs a program N times, as
/// fast as T threads can, and tells how many started, how they ended and, with one thread, how many left a
/// file `made` in the working directory. With `wait` it says `ready` and begins at a line on standard input.
pub fn spawn(words: &Words) -> Result<()> {
    let program = words.path("program")?;
    let count: usize = words.number("count")?.unwrap_or(1);
    let threads: usize = words.number("threads")?.unwrap_or(1);
    let arguments = words.rest();
    if words.get("wait").is_some() {
        say(&json!({ "ready": std::process::id() }));
        wait_for_line()?;
    }
    let mut all = Runs::default();
    thread::scope(|scope| {
        let shares = (0..threads).map(|number| (count + number) / threads);
        let program = &program;
        let workers: Vec<_> = shares
            .map(|share| scope.spawn(move || run_many(program, arguments, share, threads == 1)))
            .collect();
        for worker in workers {
            let runs = worker.join().unwrap_or_default();
            all.started.merge(runs.started);
            all.ended.merge(runs.ended);
            all.pids.extend(runs.pids);
            all.made += runs.made;
        }
    });
    if let Some(path) = words.get("pids") {
        let lines: String = all.pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(path, lines).with_context(|| format!("writing {}", path.display()))?;
    }
    say(&json!({ "started": all.started.json(), "ended": all.ended.json(), "made": all.made }));
    Ok(())
}

fn run_many(program: &Path, arguments: &[OsString], count: usize, look: bool) -> Runs {
    let mut runs = Runs::default();
    for _ in 0..count {
        let child = Command::new(program).args(arguments).spawn();
        runs.started.add(&child);
        let Ok(mut child) = child else { continue };
        runs.pids.push(child.id());
        match child.wait().map(|status| (status.code(), status.signal())) {
            Ok((Some(code), _)) => runs.ended.count(&format!("code {code}")),
            Ok((None, Some(signal))) => runs.ended.count(&format!("signal {signal}")),
            Ok((None, None)) => runs.ended.count("neither"),
            Err(error) => runs.ended.count(&error_name(&error)),
        }
        runs.made += u64::from(look && fs::remove_file(MADE).is_ok());
    }
    runs
}

/// `exec program=PATH [-- argument...]`: becomes the program, with no fork.
pub fn exec(words: &Words) -> Result<()> {
    refused(Command::new(words.path("program")?).args(words.rest()).exec())
}

/// `memfd program=PATH [-- argument...]`: becomes a copy of the program that is in no file system.
pub fn memfd(words: &Words) -> Result<()> {
    // SAFETY: the name is a C string; the result is checked before it is owned.
    let mut memory = unsafe {
        match libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()).context("memfd_create"),
            descriptor => File::from(OwnedFd::from_raw_fd(descriptor)),
        }
    };
    io::copy(&mut open(&words.path("program")?)?, &mut memory).context("copying the program to memory")?;
    exec_descriptor(memory.as_raw_fd(), words.rest())
}

/// `deleted program=PATH copy=PATH [-- argument...]`: becomes a copy of the program, deleted just before.
pub fn deleted(words: &Words) -> Result<()> {
    let copy = words.path("copy")?;
    fs::copy(words.path("program")?, &copy).with_context(|| format!("copying to {}", copy.display()))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let file = open(&copy)?;
    fs::remove_file(&copy)?;
    exec_descriptor(file.as_raw_fd(), words.rest())
}

/// `unplaced program=PATH mount=PATH [-- argument...]`: becomes a copy of the program on a file system that is mounted in this
/// process's mount namespace only.
pub fn unplaced(words: &Words) -> Result<()> {
    let point = words.path("mount")?;
    fs::create_dir_all(&point).with_context(|| format!("making {}", point.display()))?;
    let target = CString::new(point.as_os_str().as_bytes()).context("a path")?;
    let done = |what: &'static str, code: i32| {
        if code == -1 { Err(io::Error::last_os_error()).context(what) } else { Ok(()) }
    };
    // SAFETY: changes only this process's mounts; all names are C strings.
    unsafe {
        done("unshare", libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        done(
            "making mounts private",
            libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()),
        )?;
        let tmpfs = c"tmpfs".as_ptr();
        done("mounting", libc::mount(tmpfs, target.as_ptr(), tmpfs, 0, ptr::null()))?;
    }
    let copy = point.join("copy");
    fs::copy(words.path("program")?, &copy).context("copying the program")?;
    refused(Command::new(copy).args(words.rest()).exec())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

fn exec_descriptor(descriptor: i32, arguments: &[OsString]) -> Result<()> {
    let words = [OsStr::new("probe")].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<CString> =
        words.map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>().context("an argument")?;
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(ptr::null());
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: the path is empty as the flag demands, both lists end with a null pointer.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            descriptor,
            c"".as_ptr(),
            pointers.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    refused(io::Error::last_os_error())
}

/// Only reached when the kernel refused to run a program.
fn refused(error: io::Error) -> Result<()> {
    say(&json!({ "refused": error_name(&error) }));
    std::process::exit(3);
}

/// `fork [count=N] [code=C]`: children that exit at once with a code; tells their pids.
pub fn fork(words: &Words) -> Result<()> {
    let count: usize = words.number("count")?.unwrap_or(1);
    let code: i32 = words.number("code")?.unwrap_or(0);
    let mut pids = Vec::new();
    for _ in 0..count {
        // SAFETY: this process has one thread; the child only exits.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", io::Error::last_os_error()),
            // SAFETY: ends the child without running anything of the parent's.
            0 => unsafe { libc::_exit(code) },
            pid => pids.push(pid),
        }
        // SAFETY: no status is asked for.
        unsafe { libc::wait(ptr::null_mut()) };
    }
    say(&json!({ "pids": pids }));
    Ok(())
}
