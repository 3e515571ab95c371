//! How an agent is configured and started.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::MutexGuard,
};

use anyhow::Result;

use super::{Agent, LIFE, notify::Notify, records::Records, turn};
use crate::{
    cgroup::Cgroup,
    netns::Netns,
    place::{PINS, Place},
    program::Program,
    wait::deadline,
};

/// Names of files in the agent's own directory.
pub(super) const CONFIG: &str = "monitor.toml";
const RECORDS: &str = "records.jsonl";

/// Whether the agent only says what it would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes; findings and counters say "would have".
    Observe,
    /// The verdicts are carried out.
    Enforce,
}

impl Mode {
    /// Both modes, for scenarios that compare them.
    pub const BOTH: [Self; 2] = [Self::Observe, Self::Enforce];

    /// As policy, findings and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// How an agent shall be started. Its scope is always a cgroup of the test's own.
#[derive(Debug)]
pub struct Setup<'a> {
    mode: Mode,
    scope: String,
    interfaces: String,
    netns: Option<&'a Netns>,
    home: Option<&'a Cgroup>,
    listen: String,
    web_config: Option<PathBuf>,
    redact: String,
    events: bool,
    protect: Vec<&'a str>,
    agent: String,
    settings: String,
    state: Option<PathBuf>,
    keep: bool,
    arguments: Vec<String>,
    rules: String,
}

/// How an agent was started, to start another in its place.
#[derive(Debug, Clone)]
pub(super) struct Again<'a> {
    netns: Option<&'a Netns>,
    home: Option<&'a Cgroup>,
    state: Option<PathBuf>,
    keep: bool,
    arguments: Vec<String>,
    run_directory: PathBuf,
}

impl<'a> Again<'a> {
    /// The command line, for a configuration that is in `place` already.
    pub(super) fn program(&self, place: &Place) -> Result<Program> {
        let program = Program::monitor()?.arg("run").arg("--config").arg(place.join(CONFIG));
        // Never the machine's own: what one scenario bans must not be banned in the next.
        let state = self.state.clone().unwrap_or_else(|| place.join("state"));
        let program = program.arg("--run-dir").arg(&self.run_directory);
        let program = program.arg("--pin-dir").arg(place.join(PINS));
        // Not refused in silence: a scenario that makes the agent call what it may not ends there.
        let mut program = program.arg("--state-dir").arg(state).args(["--seccomp", "kill"]);
        if self.keep {
            program = program.arg("--keep");
        }
        program = program.args(&self.arguments);
        if let Some(netns) = self.netns {
            program = program.within(netns)?;
        }
        if let Some(home) = self.home {
            program = program.inside(home)?;
        }
        Ok(program)
    }

    /// Starts an agent there and waits until it is ready.
    pub(super) fn start(self, place: Place, turn: Option<MutexGuard<'static, ()>>) -> Result<Agent<'a>> {
        let records = Records::new(place.join(RECORDS));
        let socket = place.join("notify");
        let _ = fs::remove_file(&socket);
        let notify = Notify::new(socket)?;
        let running = self.program(&place)?.env("NOTIFY_SOCKET", notify.path()).start()?;
        let netns = self.netns;
        let mut agent =
            Agent { running, notify, records, metrics: None, netns, place, again: self, _turn: turn };
        match agent.wait_until_ready(deadline(LIFE)) {
            Ok(address) => agent.metrics = Some(address),
            Err(error) => {
                let said = agent.running.kill_and_tell();
                let config = fs::read_to_string(agent.place.join(CONFIG)).unwrap_or_default();
                return Err(
                    error.context(format!("the agent said:\n{said}\nwith this configuration:\n{config}"))
                );
            }
        }
        Ok(agent)
    }
}

impl<'a> Setup<'a> {
    /// An agent with no rules and no interfaces, for the processes in a cgroup.
    pub fn new(mode: Mode, scope: &Cgroup) -> Self {
        Self {
            mode,
            scope: scope.scope(),
            interfaces: "[]".into(),
            netns: None,
            home: None,
            listen: "127.0.0.1:0".into(),
            web_config: None,
            redact: "[]".into(),
            events: true,
            protect: Vec::new(),
            agent: String::new(),
            settings: String::new(),
            state: None,
            keep: false,
            arguments: Vec::new(),
            rules: String::new(),
        }
    }

    /// Names the interfaces to watch.
    pub fn interfaces(mut self, names: &[&str]) -> Self {
        self.interfaces = format!("{names:?}");
        self
    }

    /// Lets it watch the interfaces with a default route.
    pub fn auto(mut self) -> Self {
        self.interfaces = "\"auto\"".into();
        self
    }

    /// Lets the agent live in a network namespace.
    pub fn within(mut self, netns: &'a Netns) -> Self {
        self.netns = Some(netns);
        self
    }

    /// Lets the agent live in a cgroup.
    pub fn inside(mut self, home: &'a Cgroup) -> Self {
        self.home = Some(home);
        self
    }

    /// Sets where the metrics are served, instead of at a free port.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    /// Sets what is taken out of command lines, as TOML.
    pub fn redact(mut self, what: &str) -> Self {
        self.redact = what.to_owned();
        self
    }

    /// Names the file that says who may read the metrics.
    pub fn web_config(mut self, path: &Path) -> Self {
        self.web_config = Some(path.to_owned());
        self
    }

    /// Lets it write findings only, as an agent does that isn't told otherwise.
    pub fn without_events(mut self) -> Self {
        self.events = false;
        self
    }

    /// Names addresses that no rule may drop.
    pub fn protecting(mut self, addresses: &[&'a str]) -> Self {
        self.protect = addresses.to_vec();
        self
    }

    /// Lets it keep its bans there, for the next agent; else they go with its own directory.
    pub fn state(mut self, directory: PathBuf) -> Self {
        self.state = Some(directory);
        self
    }

    /// Adds settings of `[agent]` that have no method here, as TOML.
    pub fn agent(mut self, settings: &str) -> Self {
        self.agent.push_str(settings);
        self.agent.push('\n');
        self
    }

    /// Adds settings that have no method here, as TOML tables.
    pub fn settings(mut self, settings: &str) -> Self {
        self.settings.push_str(settings);
        self.settings.push('\n');
        self
    }

    /// Has what is in force stay so when it is told to stop.
    pub fn keeping(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Makes its scope the whole machine: in a guest only.
    pub fn everywhere(mut self) -> Self {
        self.scope = "/".into();
        self
    }

    /// Adds an argument to its command line.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Adds rules and workloads, as TOML.
    pub fn rules(mut self, rules: &str) -> Self {
        self.rules.push_str(rules);
        self.rules.push('\n');
        self
    }

    /// The configuration file's text.
    pub fn config(&self, records: &str) -> String {
        let Self { mode, scope, interfaces, listen, events, protect, redact, agent, settings, rules, .. } =
            self;
        let web =
            self.web_config.iter().map(|path| format!("web_config = {:?}\n", path.display().to_string()));
        let web: String = web.collect();
        format!(
            "mode = \"{}\"\n\n\
             [agent]\ncgroup = {scope:?}\ninterfaces = {interfaces}\nprotect = {protect:?}\nredact = {redact}\n{agent}\n\
             [metrics]\nlisten = {listen:?}\n{web}\n\
             [[sink]]\ntype = \"file\"\npath = {records:?}\nformat = \"json\"\nevents = {events}\nfold = \"0s\"\n\n\
             {settings}\n{rules}",
            mode.name()
        )
    }

    /// The agent's command line, its configuration written to `place`; not started.
    ///
    /// # Errors
    /// When there is no agent, or the configuration can't be written.
    pub fn program(&self, place: &Place, run_directory: &Path) -> Result<Program> {
        fs::write(place.join(CONFIG), self.config(&place.join(RECORDS).display().to_string()))?;
        fs::create_dir_all(run_directory)?;
        self.again(run_directory).program(place)
    }

    fn again(&self, run_directory: &Path) -> Again<'a> {
        let Self { netns, home, state, keep, arguments, .. } = self;
        let (run_directory, arguments) = (run_directory.to_owned(), arguments.clone());
        Again { netns: *netns, home: *home, state: state.clone(), keep: *keep, arguments, run_directory }
    }

    /// Starts the agent, when no other test has one, and waits until it is ready.
    ///
    /// # Errors
    /// When it doesn't become ready in time; the error bears what the agent wrote.
    pub fn start(self) -> Result<Agent<'a>> {
        let turn = turn();
        self.start_beside(Some(turn))
    }

    /// Starts the agent although another one may run: the caller has the [`turn`] or passes it.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub fn start_beside(self, turn: Option<MutexGuard<'static, ()>>) -> Result<Agent<'a>> {
        let place = Place::new()?;
        let run_directory = place.join("run");
        drop(self.program(&place, &run_directory)?);
        self.again(&run_directory).start(place, turn)
    }
}
