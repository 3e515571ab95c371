//! The first process of a test guest (`cargo xtask vm`): prepares a bare kernel as far as the scenarios need,
//! runs the test binaries that `/plan` names and switches the machine off with the result.
//!
//! Everything goes to the second serial port: what the tests print as it comes, and lines that begin with
//! `@guest` for `cargo xtask vm` (`xtask/src/vm/report.rs` reads them):
//!
//! ```text
//! @guest up                                     the tests are about to run
//! @guest begin NAME                             the following lines are this test binary's
//! @guest end NAME STATUS                        exit=CODE, signal=NUMBER or timeout
//! @guest off VALUE                              the machine ends without its exit device
//! @guest error TEXT                             the guest could not be set up; no test ran
//! ```
//!
//! The machine ends by a write to the `isa-debug-exit` device, so QEMU's exit code is `VALUE << 1 | 1` with one of
//! the values below; a panic of the kernel (or of this program, which amounts to the same) ends it with 0.

use std::arch::asm;
use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Where the results go; the first serial port is the kernel's console.
const RESULTS: &str = "/dev/ttyS1";

/// The I/O port of QEMU's `isa-debug-exit` device, as given on its command line.
const EXIT_PORT: u16 = 0xf4;

/// All tests passed.
const EXIT_PASSED: u8 = 0x10;
/// A test binary failed, crashed or hung.
const EXIT_FAILED: u8 = 0x11;
/// The guest could not be set up.
const EXIT_BROKEN: u8 = 0x12;

/// File systems: source and type, mount point, options. In this order, as some lie inside others.
const MOUNTS: &[(&CStr, &CStr, Option<&CStr>)] = &[
    (c"proc", c"/proc", None),
    (c"sysfs", c"/sys", None),
    (c"devtmpfs", c"/dev", None),
    (c"tmpfs", c"/tmp", Some(c"mode=1777")),
    (c"tmpfs", c"/run", Some(c"mode=755")),
    (c"tmpfs", c"/dev/shm", Some(c"mode=1777")),
    (c"devpts", c"/dev/pts", None),
    (c"securityfs", c"/sys/kernel/security", None),
    (c"tracefs", c"/sys/kernel/tracing", None),
    (c"bpf", c"/sys/fs/bpf", None),
    (c"cgroup2", c"/sys/fs/cgroup", None),
];

/// What to do, from `/plan`: one `key=value` a line, keys may repeat.
#[derive(Default)]
struct Plan {
    /// `module`: files of kernel modules, each after those it depends on.
    modules: Vec<CString>,
    /// `env`: variables of the tests, as `NAME=VALUE`.
    env: Vec<(String, String)>,
    /// `test`: test binaries, run one after the other.
    tests: Vec<String>,
    /// `arg`: arguments that every test binary gets.
    args: Vec<String>,
    /// `timeout`: how long one test binary may run, in seconds.
    timeout: Duration,
    /// `sheet`: a program to run before the tests, and arguments for it, separated by blanks.
    sheet: Option<Vec<String>>,
    /// `skip`: mount points to leave out.
    skip: Vec<CString>,
}

fn main() {
    let value = match prepare() {
        Ok((plan, mut results)) => run_tests(&plan, &mut results),
        Err(error) => {
            // Without the results port the console is all there is.
            eprintln!("guest-init: {error:#}");
            if let Ok(mut results) = OpenOptions::new().write(true).open(RESULTS) {
                drop(writeln!(results, "@guest error {error:#}"));
            }
            EXIT_BROKEN
        }
    };
    if let Err(error) = power_off(value) {
        // The end of the first process is a kernel panic, which QEMU reports by its exit code.
        eprintln!("guest-init: cannot power off: {error:#}");
    }
}

fn prepare() -> Result<(Plan, File)> {
    let plan = read_plan(Path::new("/plan"))?;
    for (kind, target, options) in
        MOUNTS.iter().filter(|mount| !plan.skip.iter().any(|skip| **skip == *mount.1))
    {
        mount(kind, target, *options)?;
    }
    // Programs expect these four; devtmpfs does not make them.
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(target, link).with_context(|| format!("cannot make the link {link}"))?;
    }
    let results =
        OpenOptions::new().write(true).open(RESULTS).with_context(|| format!("cannot open {RESULTS}"))?;
    for module in &plan.modules {
        load_module(module)?;
    }
    loopback_up().context("cannot set the loopback interface up")?;
    Ok((plan, results))
}

fn read_plan(path: &Path) -> Result<Plan> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut plan = Plan::default();
    for line in text.lines() {
        let (key, value) =
            line.split_once('=').with_context(|| format!("the plan has a line without `=`: {line}"))?;
        match key {
            "module" => plan.modules.push(CString::new(value)?),
            "env" => {
                let (name, value) =
                    value.split_once('=').with_context(|| format!("the plan has no value: {line}"))?;
                plan.env.push((name.to_owned(), value.to_owned()));
            }
            "test" => plan.tests.push(value.to_owned()),
            "arg" => plan.args.push(value.to_owned()),
            "sheet" => plan.sheet = Some(value.split(' ').map(str::to_owned).collect()),
            "skip" => plan.skip.push(CString::new(value)?),
            "timeout" => plan.timeout = Duration::from_secs(value.parse()?),
            _ => bail!("the plan has an unknown key: {line}"),
        }
    }
    Ok(plan)
}

fn run_tests(plan: &Plan, results: &mut File) -> u8 {
    let mut value = EXIT_PASSED;
    drop(writeln!(results, "@guest up"));
    let sheet = plan.sheet.iter().filter_map(|words| words.split_first());
    for (test, arguments) in sheet.chain(plan.tests.iter().map(|test| (test, &plan.args[..]))) {
        let name = Path::new(test).file_name().unwrap_or_default().display();
        drop(writeln!(results, "@guest begin {name}"));
        let status = match run_test(plan, test, arguments, results) {
            Ok(status) => status,
            Err(error) => {
                drop(writeln!(results, "cannot run {test}: {error:#}"));
                "exit=127".to_owned()
            }
        };
        // What the tests printed last may be an unfinished line.
        drop(writeln!(results, "\n@guest end {name} {status}"));
        if status != "exit=0" {
            value = EXIT_FAILED;
        }
    }
    value
}

/// Runs one test binary to its end or its deadline and says which it was.
fn run_test(plan: &Plan, test: &str, arguments: &[String], results: &File) -> Result<String> {
    let mut child = Command::new(test)
        .args(arguments)
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(results.try_clone()?)
        .stderr(results.try_clone()?)
        .spawn()?;
    let pid = libc::pid_t::try_from(child.id())?;

    let (ended, deadline) = mpsc::channel::<()>();
    let timeout = plan.timeout;
    let watchdog = thread::spawn(move || {
        let late = deadline.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout);
        if late {
            stop_hung(&mut child);
        }
        late
    });
    let status = wait_for(pid);
    drop(ended);
    let late = watchdog.join().unwrap_or_default();
    let status = status?;
    Ok(if late {
        "timeout".to_owned()
    } else if libc::WIFSIGNALED(status) {
        format!("signal={}", libc::WTERMSIG(status))
    } else {
        format!("exit={}", libc::WEXITSTATUS(status))
    })
}

/// Has the kernel write to its console what every process is waiting for, then ends the test binary.
fn stop_hung(child: &mut Child) {
    // `t` shows all tasks with their stacks; without it nothing tells where a scenario hangs. `quiet` would hide it.
    drop(fs::write("/proc/sys/kernel/printk", "8"));
    drop(fs::write("/proc/sysrq-trigger", "t"));
    drop(child.kill());
}

/// Waits for one child, and on the way for the orphans which the first process of a system inherits.
fn wait_for(pid: libc::pid_t) -> io::Result<libc::c_int> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result and outlives the call.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            ended if ended == pid => return Ok(status),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => {}
        }
    }
}

fn mount(kind: &CStr, target: &CStr, options: Option<&CStr>) -> Result<()> {
    let shown = target.to_string_lossy();
    fs::create_dir_all(&*shown).with_context(|| format!("cannot make {shown}"))?;
    let options = options.map_or(std::ptr::null(), |options| options.as_ptr().cast());
    // SAFETY: the strings are NUL-terminated and outlive the call; the options may be null.
    let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options) };
    // The kernel may have mounted /dev by itself.
    match check(result.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
            Err(error).with_context(|| format!("cannot mount {} at {shown}", kind.to_string_lossy()))
        }
        _ => Ok(()),
    }
}

fn load_module(path: &CStr) -> Result<()> {
    let shown = path.to_string_lossy();
    let file = File::open(&*shown).with_context(|| format!("cannot open the module {shown}"))?;
    // SAFETY: the descriptor is open and the parameter string is NUL-terminated; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
            Err(error).with_context(|| format!("cannot load the module {shown}"))
        }
        _ => Ok(()),
    }
}

fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all-zero bytes are a valid `ifreq`, a plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
}

/// Ends the machine. Returns only when that failed. A kernel that is locked down gives nobody its I/O ports: there the value is
/// said instead, and the machine starts anew, which QEMU takes for its end.
fn power_off(value: u8) -> Result<()> {
    if let Ok(results) = File::open(RESULTS) {
        // SAFETY: the descriptor is open; the call waits until the port has sent everything.
        unsafe { libc::tcdrain(results.as_raw_fd()) };
    }
    // SAFETY: the call only lets this thread use I/O ports, which needs a privilege that the first process has.
    if let Err(error) = check(unsafe { libc::ioperm(EXIT_PORT.into(), 1, 1) }.into()) {
        if error.raw_os_error() != Some(libc::EPERM) {
            return Err(error).context("cannot use the exit port");
        }
        let mut results = OpenOptions::new().write(true).open(RESULTS)?;
        writeln!(results, "@guest off {value}")?;
        // SAFETY: the descriptor is open, and the other call takes no pointers.
        unsafe {
            libc::tcdrain(results.as_raw_fd());
            libc::reboot(libc::RB_AUTOBOOT);
        }
    }
    // SAFETY: one byte to a port that the line above allowed; no memory of this program is touched.
    unsafe {
        asm!("out dx, al", in("dx") EXIT_PORT, in("al") value, options(nomem, nostack, preserves_flags))
    };
    bail!("the machine has no exit device at port {EXIT_PORT:#x}")
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
