//! A started process and its end.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, Command, ExitStatus},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::wait::{Deadline, deadline, eventually};

/// How long a process may take to be gone after SIGKILL, or to close its pipes.
const KILLED: f64 = 10.0;

/// A started process; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<Stderr>,
}

impl Running {
    pub(super) fn new(command: &mut Command) -> Result<Self> {
        let name = Path::new(command.get_program()).display().to_string();
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let stdin = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(Stderr::new);
        Ok(Self { name, child, stdin, lines, stderr })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it says.
    ///
    /// # Errors
    /// When it says none by the deadline, or has ended.
    pub fn line(&mut self, deadline: Deadline) -> Result<String> {
        if let Ok(line) = self.lines.recv_timeout(deadline.left()) {
            return Ok(line);
        }
        let end = self.child.try_wait()?.map_or("still runs".to_owned(), |status| status.to_string());
        self.kill()?;
        let complaint = self.complaint();
        bail!("{}: no line in time ({end}); it said: {complaint}", self.name);
    }

    /// The next line it says, as JSON.
    ///
    /// # Errors
    /// As [`Running::line`], or when it isn't JSON.
    pub fn json_line(&mut self, deadline: Deadline) -> Result<Value> {
        let line = self.line(deadline)?;
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.name))
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it doesn't listen any more.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("telling {}", self.name))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: libc::c_int) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "{} has ended before it was told to", self.name);
        // SAFETY: a child not yet waited for: its pid is still its own.
        let sent = unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
        ensure!(sent == 0, "sending a signal to {}: {}", self.name, io::Error::last_os_error());
        Ok(())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Closes its standard input, which ends a `probe` that holds or serves, and waits for its end.
    ///
    /// # Errors
    /// When it isn't done by the deadline; it is killed then.
    pub fn finish(mut self, deadline: Deadline) -> Result<Finished> {
        self.stdin = None;
        let waited =
            eventually(&format!("the end of {}", self.name), deadline, || Ok(self.child.try_wait()?));
        let status = match waited {
            Ok(status) => status,
            Err(error) => {
                self.kill()?;
                return Err(error.context(self.complaint()));
            }
        };
        let stderr = self.complaint();
        let mut stdout = Vec::new();
        let drained = crate::wait::deadline(KILLED);
        while let Ok(line) = self.lines.recv_timeout(drained.left()) {
            stdout.push(line);
        }
        Ok(Finished { name: self.name.clone(), pid: self.child.id(), status, stdout, stderr })
    }

    /// Kills it and tells what it wrote to standard error, and how it ended.
    pub fn kill_and_tell(&mut self) -> String {
        match self.kill() {
            Ok(()) => {
                let end = self.child.try_wait().ok().flatten();
                self.complaint() + &end.map(|end| format!("({end})")).unwrap_or_default()
            }
            Err(error) => format!("{error:#}"),
        }
    }

    fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        eventually(&format!("the end of {}", self.name), deadline(KILLED), || Ok(self.child.try_wait()?))?;
        Ok(())
    }

    /// What it wrote to standard error; call it only when the process has ended.
    fn complaint(&mut self) -> String {
        self.stderr.take().map(Stderr::text).unwrap_or_default()
    }
}

/// What a process writes to standard error, as it comes.
#[derive(Debug)]
struct Stderr {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Stderr {
    fn new(mut stderr: ChildStderr) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        Self { bytes, thread }
    }

    /// All of it, or what there is when a child of the process holds the pipe open.
    fn text(self) -> String {
        let closed = || Ok(self.thread.is_finished().then_some(()));
        let _ = eventually("the end of standard error", deadline(KILLED), closed);
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    name: String,
    /// The process id it had.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// The lines it said that were not read before.
    pub stdout: Vec<String>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The JSON that a process said before its good end.
    ///
    /// # Errors
    /// When it ended otherwise or said something else.
    pub fn json(&self) -> Result<Value> {
        ensure!(self.status.success(), "{}: {}: {}", self.name, self.status, self.stderr);
        let said = self.stdout.join("\n");
        serde_json::from_str(&said).with_context(|| format!("{} said {said:?}", self.name))
    }
}
