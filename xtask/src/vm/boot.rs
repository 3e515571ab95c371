//! One boot of one kernel in QEMU, and what became of it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::report::Report;
use crate::{
    context::Context,
    shell::{Cmd, step},
};

/// How long a guest may take until it runs tests. Emulated, it takes 5 to 15 s on two cores.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// How much longer than its test binaries may run a guest may be silent: its own limit must strike first.
const GRACE: Duration = Duration::from_secs(60);

/// From when on the time that a test took is shown.
const SLOW: Duration = Duration::from_secs(3);

/// How much of the console is shown after a crash, in lines.
const EXCERPT: usize = 40;

/// QEMU's exit codes: `VALUE << 1 | 1` with the values that `tests/src/bin/guest-init.rs` writes.
const PASSED: i32 = 0x10 << 1 | 1;
const FAILED: i32 = 0x11 << 1 | 1;
const BROKEN: i32 = 0x12 << 1 | 1;

/// What to boot.
#[derive(Debug)]
pub struct Machine {
    /// What messages call it.
    pub name: String,
    /// The compressed kernel.
    pub kernel: PathBuf,
    /// The archive that is its file system.
    pub initramfs: PathBuf,
    /// The size of the latter, in bytes.
    pub initramfs_size: usize,
    /// Where its console is kept.
    pub console: PathBuf,
    /// More words of the kernel's command line.
    pub command_line: String,
    /// How long one test binary may run in it.
    pub timeout: Duration,
}

impl Machine {
    /// Boots it, calls `show` with each line for a person, and returns when it is off.
    pub fn run(&self, context: &Context, show: impl Fn(&str)) -> Result<Report> {
        let mut qemu = self.command(context).into_inner();
        let mut child = qemu
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map(Guard)
            .context("starting `qemu-system-x86_64`: is it installed and on the PATH?")?;
        let results = child.0.stdout.take().context("QEMU has no standard output")?;
        let errors = child.0.stderr.take().context("QEMU has no standard error")?;
        let errors = thread::spawn(move || {
            let mut text = String::new();
            drop(BufReader::new(errors).read_to_string(&mut text));
            text
        });
        let mut report = Report::default();
        let silent = self.listen(&lines(results), &mut report, show);
        if silent {
            report.broken("the guest fell silent and was switched off".to_owned());
            drop(child.0.kill());
        }
        let status = child.0.wait().context("waiting for QEMU")?;
        let errors = errors.join().unwrap_or_default();
        let code = match (status.code(), report.off) {
            (Some(0), Some(value)) => Some(value << 1 | 1),
            (code, _) => code,
        };
        match code {
            _ if silent => {}
            Some(PASSED | FAILED) if report.up => {}
            Some(BROKEN) if !report.problems.is_empty() => {}
            Some(0) => report.broken("the kernel crashed".to_owned()),
            _ => report.broken(format!("QEMU failed: {status}\n{}", errors.trim())),
        }
        Ok(report)
    }

    /// The part of the console's log that tells most: where a crash begins, else the end.
    pub fn console_excerpt(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        excerpt(&String::from_utf8_lossy(&text))
    }

    /// Feeds lines to the report until the guest is off; whether it fell silent instead.
    fn listen(&self, lines: &Receiver<String>, report: &mut Report, show: impl Fn(&str)) -> bool {
        let started = Instant::now();
        let mut last = started;
        loop {
            let limit =
                if report.up { self.timeout + GRACE } else { BOOT_LIMIT.saturating_sub(started.elapsed()) };
            match lines.recv_timeout(limit) {
                Ok(line) => {
                    let was_up = report.up;
                    match report.take(&line) {
                        Some(line) if is_slow(line, last) => {
                            show(&format!("{line} ({:.1} s)", last.elapsed().as_secs_f32()));
                        }
                        line => line.into_iter().for_each(&show),
                    }
                    last = Instant::now();
                    if report.up && !was_up {
                        step(&format!(
                            "kernel {}: up after {:.1} s",
                            self.name,
                            started.elapsed().as_secs_f32()
                        ));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn command(&self, context: &Context) -> Cmd {
        let memory = 768 + 2 * (self.initramfs_size >> 20);
        let append = [
            // `panic=-1` reboots at once, which `-no-reboot` makes the end; an oops is a failure too.
            "console=ttyS0 panic=-1 oops=panic quiet",
            // A kernel that is stuck ends too. The limits are six times the usual ones, 2 and 12 minutes: a busy host
            // can stop an emulated processor for tens of seconds.
            "sysctl.kernel.softlockup_panic=1 sysctl.kernel.watchdog_thresh=60",
            "sysctl.kernel.hung_task_panic=1 sysctl.kernel.hung_task_timeout_secs=720",
            // Faster in emulation, and no scenario asks for them.
            "mitigations=off nokaslr rcupdate.rcu_expedited=1 random.trust_cpu=on",
        ]
        .join(" ");
        Cmd::new(context, "qemu-system-x86_64")
            // One CPU: two in emulation panic now and then, by a race in the emulator.
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", &memory.to_string()])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
            .arg("-serial")
            .arg(prefixed("file:", &self.console))
            .args(["-chardev", "stdio,id=results,signal=off", "-serial", "chardev:results"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &format!("{append} {}", self.command_line)])
    }
}

/// Ends the emulator when this process gives up.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Whether a line ends a test that took long enough to be told. Tests run one after the other, so a test took the
/// time since the line before.
fn is_slow(line: &str, last: Instant) -> bool {
    line.starts_with("test ") && last.elapsed() >= SLOW
}

/// Reads lines on a thread, so that waiting for one can have a limit.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { break };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn excerpt(console: &str) -> String {
    const CRASHES: [&str; 4] = ["BUG: ", "Oops: ", "general protection fault", "Kernel panic"];
    let lines: Vec<&str> = console.lines().collect();
    let crash = lines.iter().position(|line| CRASHES.iter().any(|crash| line.contains(crash)));
    let first = crash.unwrap_or_else(|| lines.len().saturating_sub(EXCERPT));
    lines.iter().skip(first).take(EXCERPT).copied().collect::<Vec<_>>().join("\n")
}

fn prefixed(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(prefix);
    text.push(path);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_begins_with_the_crash() {
        let after: String = (0..50).map(|n| format!("frame {n}\n")).collect();
        let text = format!("boot\nrandom\n[ 1.0] Kernel panic - not syncing: x\n{after}");
        let shown = excerpt(&text);
        assert!(shown.starts_with("[ 1.0] Kernel panic"));
        assert_eq!(shown.lines().count(), EXCERPT);
        assert!(excerpt(&after).ends_with("frame 49"));
        assert_eq!(excerpt(""), "");
    }
}
