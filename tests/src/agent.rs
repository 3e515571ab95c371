//! The agent under test: its configuration, its life, and everything it says.

pub mod books;
pub mod doctor;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod records;
mod setup;

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::ExitStatus,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

pub use self::setup::{Mode, Setup};
use self::{metrics::Metrics, notify::Notify, records::Records, setup::Again};
use crate::{
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::{Deadline, deadline, eventually},
};

/// Seconds until the agent must be ready, and until it must be gone after a signal.
const LIFE: f64 = 60.0;

/// One agent at a time: scenarios count what the whole kernel holds and need the machine for their floods.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test has an agent; for scenarios that start none or several themselves.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running agent; dropping it stops it.
#[derive(Debug)]
pub struct Agent<'a> {
    running: Running,
    notify: Notify,
    records: Records,
    metrics: Option<SocketAddr>,
    netns: Option<&'a Netns>,
    place: Place,
    again: Again<'a>,
    // Last, so that the next agent starts when this one is gone.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl<'a> Agent<'a> {
    /// Kills it, as the kernel does when memory runs out.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(self) -> Result<Gone<'a>> {
        let Self { mut running, place, again, _turn, .. } = self;
        let pid = running.pid();
        running.signal(libc::SIGKILL)?;
        running.finish(deadline(LIFE))?;
        Ok(Gone { pid, place, again, turn: _turn })
    }

    /// Stops it, with what is needed to start another in its place.
    ///
    /// # Errors
    /// As [`Agent::stop`].
    pub fn leave(self) -> Result<Gone<'a>> {
        let Self { mut running, place, again, _turn, .. } = self;
        let pid = running.pid();
        running.signal(libc::SIGTERM)?;
        let ended = running.finish(deadline(LIFE))?;
        ensure!(ended.status.code() == Some(0), "{}; the agent said:\n{}", ended.status, ended.stderr);
        Ok(Gone { pid, place, again, turn: _turn })
    }

    fn wait_until_ready(&mut self, deadline: Deadline) -> Result<SocketAddr> {
        eventually("the agent's readiness", deadline, || {
            self.notify.receive()?;
            ensure!(self.running.runs()? || self.notify.said("READY"), "the agent ended before it was ready");
            Ok(self.notify.get("READY").map(drop))
        })?;
        let address = eventually("the metrics address", deadline, || {
            self.notify.receive()?;
            Ok(self.notify.get("X_METRICS").map(str::to_owned))
        })?;
        address.parse().with_context(|| format!("X_METRICS={address}"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The next line it writes to standard output.
    ///
    /// # Errors
    /// When there is none by the deadline.
    pub fn line(&mut self, deadline: Deadline) -> Result<String> {
        self.running.line(deadline)
    }

    /// What it said over the service manager's socket.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn notified(&mut self, key: &str) -> Result<Option<String>> {
        self.notify.receive()?;
        Ok(self.notify.get(key).map(str::to_owned))
    }

    /// Has the kernel let it do nothing until [`Agent::goes_on`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn stands_still(&mut self) -> Result<()> {
        self.running.signal(libc::SIGSTOP)?;
        let path = format!("/proc/{}/stat", self.pid());
        eventually("the agent's standstill", deadline(10.0), || {
            let stat = std::fs::read_to_string(&path)?;
            let state = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().next());
            Ok((state == Some("T")).then_some(()))
        })
    }

    /// Has it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn goes_on(&mut self) -> Result<()> {
        self.running.signal(libc::SIGCONT)
    }

    /// Its events and findings.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The directory that holds its lock.
    pub fn run_directory(&self) -> PathBuf {
        self.place.join("run")
    }

    /// Where it answers.
    ///
    /// # Errors
    /// When it never said so.
    pub fn address(&self) -> Result<SocketAddr> {
        self.metrics.context("the agent didn't say where its metrics are")
    }

    /// Asks it for a page: the status and the body of its answer.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let address = self.address()?;
        match self.netns {
            Some(netns) => netns.run(|| http::get(address, path)),
            None => http::get(address, path),
        }
    }

    /// Its metrics as they are now.
    ///
    /// # Errors
    /// When it doesn't answer, or with something else than metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, body) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics answered {status}: {body}");
        Metrics::parse(&body)
    }

    /// Waits until the sum of a metric's series with these labels has this value.
    ///
    /// # Errors
    /// When it hasn't by the deadline, telling the last value.
    pub fn wait_for_metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
        deadline: Deadline,
    ) -> Result<()> {
        let mut last = Metrics::default();
        let what = format!("{name}{labels:?} = {value}");
        eventually(&what, deadline, || {
            last = self.metrics()?;
            Ok((last.sum(name, labels) == value).then_some(()))
        })
        .with_context(|| format!("the series are {:#?}", last.series(name)))
    }

    /// Changes its configuration file, and tells it to read that anew.
    ///
    /// # Errors
    /// When the file can't be changed, or the agent has ended.
    pub fn reconfigure(&mut self, change: impl FnOnce(String) -> String) -> Result<()> {
        self.reconfigure_as(0o644, change)
    }

    /// As [`Agent::reconfigure`], with this mode of the file.
    ///
    /// # Errors
    /// As [`Agent::reconfigure`].
    pub fn reconfigure_as(&mut self, mode: u32, change: impl FnOnce(String) -> String) -> Result<()> {
        let (path, next) = (self.place.join(setup::CONFIG), self.place.join("next.toml"));
        std::fs::write(&next, change(std::fs::read_to_string(&path)?))?;
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(mode))?;
        // As an editor does it: the agent never reads half of it.
        std::fs::rename(&next, &path)?;
        self.running.signal(libc::SIGHUP)
    }

    /// A configuration made of its own, in a file beside that.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn another(&self, name: &str, change: impl FnOnce(String) -> String) -> Result<PathBuf> {
        let path = self.place.join(name);
        std::fs::write(&path, change(std::fs::read_to_string(self.place.join(setup::CONFIG))?))?;
        Ok(path)
    }

    /// Asks it with one of the commands.
    ///
    /// # Errors
    /// When there is no agent binary.
    pub fn order(&self, words: &[&str]) -> Result<Program> {
        Ok(Program::monitor()?.args(words).arg("--run-dir").arg(self.run_directory()))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it hasn't in time, or not with exit code 0.
    pub fn ended(self) -> Result<Gone<'a>> {
        let Self { running, place, again, _turn, .. } = self;
        let pid = running.pid();
        let ended = running.finish(deadline(LIFE))?;
        ensure!(ended.status.code() == Some(0), "{}; the agent said:\n{}", ended.status, ended.stderr);
        Ok(Gone { pid, place, again, turn: _turn })
    }

    /// Tells it to end with a signal and waits until it has.
    ///
    /// # Errors
    /// When it has ended before, doesn't end in time, or not with exit code 0.
    pub fn stop_with(self, signal: libc::c_int) -> Result<Stopped> {
        let Self { mut running, mut notify, records, place, _turn, .. } = self;
        let ended_early = running.signal(signal);
        let ended = running.finish(deadline(LIFE))?;
        notify.receive()?;
        let stopped =
            Stopped { status: ended.status, stderr: ended.stderr, notify, records, _place: place, _turn };
        ended_early.with_context(|| format!("the agent said:\n{}", stopped.stderr))?;
        ensure!(stopped.status.code() == Some(0), "{}; the agent said:\n{}", stopped.status, stopped.stderr);
        Ok(stopped)
    }

    /// Stops it as a service manager would.
    ///
    /// # Errors
    /// As [`Agent::stop_with`].
    pub fn stop(self) -> Result<Stopped> {
        self.stop_with(libc::SIGTERM)
    }
}

/// What is left of an agent that has gone, where another can take over.
#[derive(Debug)]
pub struct Gone<'a> {
    /// The process id that it had.
    pub pid: u32,
    place: Place,
    again: Again<'a>,
    turn: Option<MutexGuard<'static, ()>>,
}

impl<'a> Gone<'a> {
    /// Starts another with the same configuration and directories.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub fn start(self) -> Result<Agent<'a>> {
        self.again.start(self.place, self.turn)
    }

    /// Starts another and kills it after some time, ready or not.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_and_kill(self, after: Duration) -> Result<Self> {
        let mut running = self.again.program(&self.place)?.start()?;
        std::thread::sleep(after);
        running.signal(libc::SIGKILL)?;
        running.finish(deadline(LIFE))?;
        Ok(self)
    }

    /// Where the lock is.
    pub fn run_directory(&self) -> PathBuf {
        self.place.join("run")
    }

    /// Where things are pinned.
    pub fn pins(&self) -> PathBuf {
        self.place.join(crate::place::PINS)
    }
}

/// What is left of an agent that was stopped.
#[derive(Debug)]
pub struct Stopped {
    /// How it ended.
    pub status: ExitStatus,
    /// What it logged.
    pub stderr: String,
    /// What it told its service manager.
    pub notify: Notify,
    // In the directory below: not to be had without it.
    records: Records,
    _place: Place,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Stopped {
    /// Its events and findings.
    pub fn records(&self) -> &Records {
        &self.records
    }
}
