//! The distribution's exec tracer: `execsnoop` of libbpf-tools, which prints a line for each exec and decides nothing.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    ptr,
};

use anyhow::{Context, Result, bail, ensure};
use tests::{
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::{deadline, eventually},
};

/// Where Debian installs it; the other package of the name (bpfcc-tools) calls its own execsnoop-bpfcc.
const PROGRAM: &str = "/usr/sbin/execsnoop";
/// Seconds until it must trace.
const START: f64 = 20.0;
/// Where the kernel's tracepoints are listed when somebody has mounted them.
const TRACEFS: &std::ffi::CStr = c"/sys/kernel/tracing";

/// A running tracer; dropping it ends it.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    // Holds the file that it writes to.
    _place: Place,
}

impl Tracer {
    /// Starts it for the processes of a cgroup and waits until it has printed an exec there. As on a terminal, it writes
    /// line by line.
    pub fn start(scope: &Cgroup) -> Result<Self> {
        ensure!(Path::new(PROGRAM).is_file(), "there is no {PROGRAM}: install Debian's libbpf-tools");
        let place = Place::new()?;
        let (said, complaint) = (place.join("said"), place.join("complaint"));
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(PROGRAM).arg("-c").arg(scope.path());
        command.stdin(Stdio::null()).stdout(File::create(&said)?).stderr(File::create(&complaint)?);
        // SAFETY: only system calls between fork and exec.
        unsafe { command.pre_exec(mount_tracefs) };
        let child = command.spawn().context("starting execsnoop through stdbuf (coreutils)")?;
        let mut tracer = Self { child, _place: place };
        eventually("an exec in what execsnoop prints", deadline(START), || {
            if let Some(status) = tracer.child.try_wait()? {
                bail!("execsnoop ended with {status}: {}", fs::read_to_string(&complaint)?.trim());
            }
            Program::new("/bin/true").inside(scope)?.finish(deadline(START))?;
            Ok(lines(&said)?.then_some(()))
        })?;
        Ok(tracer)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Whether there is more than the heading.
fn lines(path: &Path) -> Result<bool> {
    Ok(fs::read_to_string(path)?.lines().count() > 1)
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cleaning up: execsnoop: {error}");
        }
    }
}

/// The tracer looks its tracepoints up in a file system that not every host mounts: for its own eyes it is.
fn mount_tracefs() -> io::Result<()> {
    let check = |code: i32| if code == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: all strings are C strings, the others may be null; the directory is there on every kernel with tracepoints.
    unsafe {
        if libc::access(c"/sys/kernel/tracing/events".as_ptr(), libc::F_OK) == 0 {
            return Ok(());
        }
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()))?;
        let kind = c"tracefs".as_ptr();
        check(libc::mount(kind, TRACEFS.as_ptr(), kind, 0, ptr::null()))
    }
}
