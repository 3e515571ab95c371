//! Every way a process turns into another program.

use std::{
    error::Error,
    ffi::{CString, OsStr, OsString},
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{OpenOptionsExt, PermissionsExt, chroot},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::Command,
    ptr, thread,
};

use anyhow::{Context, Result, anyhow};

use crate::{mount, words::Words};

/// The kernel didn't run a program; this process goes on.
#[derive(Debug)]
pub struct Refused(pub io::Error);

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "refused: {}", self.0)
    }
}

impl Error for Refused {}

type Turn = fn(&Words) -> Result<()>;

/// All take `program=PATH [-- argument...]`, and return only when the program wasn't run.
const TURNS: &[(&str, Turn)] = &[
    ("exec", exec),
    ("thread", thread),
    ("vfork", vfork),
    ("memfd", memfd),
    ("tmpfile", tmpfile),
    ("deleted", deleted),
    ("unplaced", unplaced),
    ("shown", shown),
    ("chrooted", chrooted),
];

/// The way with this name.
pub fn find(name: &str) -> Option<Turn> {
    TURNS.iter().find(|(known, _)| *known == name).map(|(_, turn)| *turn)
}

/// `[name=TEXT]`: with no fork; the name is what the program gets as its 0th argument.
fn exec(words: &Words) -> Result<()> {
    into(&words.path("program")?, words)
}

fn into(program: &Path, words: &Words) -> Result<()> {
    let mut command = Command::new(program);
    if let Some(name) = words.get("name") {
        command.arg0(name);
    }
    Err(Refused(command.args(words.rest()).exec()).into())
}

/// From a thread that isn't the process's first.
fn thread(words: &Words) -> Result<()> {
    thread::scope(|scope| scope.spawn(|| exec(words)).join())
        .map_err(|_| anyhow!("the thread that executes panicked"))?
}

/// In a child that shares the memory until it is another program; ends as that ends.
fn vfork(words: &Words) -> Result<()> {
    let child = Command::new(words.path("program")?).args(words.rest()).spawn().map_err(Refused);
    let status = child?.wait()?;
    std::process::exit(status.code().unwrap_or(128 + status.signal().unwrap_or_default()));
}

/// A copy that is in no file system.
fn memfd(words: &Words) -> Result<()> {
    // SAFETY: the name is a C string; the result is checked before it is owned.
    let mut memory = unsafe {
        match libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()).context("memfd_create"),
            descriptor => File::from(OwnedFd::from_raw_fd(descriptor)),
        }
    };
    io::copy(&mut open(&words.path("program")?)?, &mut memory).context("copying the program to memory")?;
    exec_descriptor(&memory, words.rest())
}

/// `tmpfile directory=PATH`: a copy on a file system, but never in a directory.
fn tmpfile(words: &Words) -> Result<()> {
    let directory = words.path("directory")?;
    let mut nameless = File::options();
    let nameless = nameless.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o755);
    let mut copy = nameless.open(&directory).with_context(|| format!("a file in {}", directory.display()))?;
    io::copy(&mut open(&words.path("program")?)?, &mut copy).context("copying the program")?;
    // What somebody may write to can't be executed.
    let readable = open(Path::new(&format!("/proc/self/fd/{}", copy.as_raw_fd())))?;
    drop(copy);
    exec_descriptor(&readable, words.rest())
}

/// `deleted copy=PATH`: a copy, deleted just before.
fn deleted(words: &Words) -> Result<()> {
    let copy = words.path("copy")?;
    fs::copy(words.path("program")?, &copy).with_context(|| format!("copying to {}", copy.display()))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let file = open(&copy)?;
    fs::remove_file(&copy)?;
    exec_descriptor(&file, words.rest())
}

/// `unplaced mount=PATH`: a copy on a file system that is mounted in this process's mount namespace only.
fn unplaced(words: &Words) -> Result<()> {
    let point = words.path("mount")?;
    fs::create_dir_all(&point).with_context(|| format!("making {}", point.display()))?;
    mount::own_namespace()?;
    mount::empty(&point)?;
    let copy = point.join("copy");
    fs::copy(words.path("program")?, &copy).context("copying the program")?;
    into(&copy, words)
}

/// `shown at=PATH`: by another path, at which it is shown to this process alone.
fn shown(words: &Words) -> Result<()> {
    let at = words.path("at")?;
    mount::own_namespace()?;
    mount::bind(&words.path("program")?, &at)?;
    into(&at, words)
}

/// `chrooted root=PATH`: by its path below another root.
fn chrooted(words: &Words) -> Result<()> {
    let root = words.path("root")?;
    chroot(&root).with_context(|| format!("making {} the root", root.display()))?;
    std::env::set_current_dir("/")?;
    exec(words)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

fn exec_descriptor(file: &File, arguments: &[OsString]) -> Result<()> {
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
            file.as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(Refused(io::Error::last_os_error()).into())
}
