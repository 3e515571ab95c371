//! What runs beside the operations that are timed.

use anyhow::{Result, ensure};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    kernel::Inventory,
    wait::deadline,
};

use crate::{empty::Empty, tracer::Tracer};

/// Something that may run beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nothing, compared with nothing: what is left is the noise of the machine.
    Nothing,
    /// The agent as it is installed: its sink gets findings.
    Agent,
    /// The agent, its sink getting every event.
    AgentWithEvents,
    /// The agent stopped by a signal while its ring has room: the kernel programs alone, nobody is woken.
    Programs,
    /// Programs that return at once on the agent's hooks: the floor of any agent.
    Empty,
    /// The distribution's exec tracer, limited to the same cgroup.
    Tracer,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::Agent, Self::AgentWithEvents, Self::Programs, Self::Empty, Self::Tracer];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Agent => "agent, findings to a file",
            Self::AgentWithEvents => "agent, events to a file",
            Self::Programs => "agent, stopped",
            Self::Empty => "empty hooks",
            Self::Tracer => "execsnoop",
        }
    }

    /// Whether the goals are about it.
    pub fn has_goal(self) -> bool {
        matches!(self, Self::Agent | Self::AgentWithEvents)
    }

    /// Starts it and waits until it is at work.
    pub fn start(self, scope: &Cgroup, rules: &str) -> Result<Beside> {
        let agent = || Setup::new(Mode::Enforce, scope).rules(rules);
        Ok(match self {
            Self::Nothing => Beside::Nothing,
            Self::Agent => Beside::Agent(Box::new(agent().without_events().start()?), false),
            Self::AgentWithEvents => Beside::Agent(Box::new(agent().start()?), false),
            Self::Programs => {
                let agent = agent().without_events().start()?;
                signal(&agent, libc::SIGSTOP)?;
                Beside::Agent(Box::new(agent), true)
            }
            Self::Empty => Beside::Empty(Empty::attach()?),
            Self::Tracer => Beside::Tracer(Tracer::start(scope)?),
        })
    }
}

/// It, running.
#[derive(Debug)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// An agent, and whether it is stopped.
    Agent(Box<Agent<'static>>, bool),
    /// Empty programs, held by this process.
    Empty(Empty),
    /// The tracer.
    Tracer(Tracer),
}

impl Beside {
    /// The process, if there is one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Agent(agent, _) => Some(agent.pid()),
            Self::Empty(_) => Some(std::process::id()),
            Self::Tracer(tracer) => Some(tracer.pid()),
        }
    }

    /// Ends it and waits until the kernel has none of its programs any more.
    pub fn stop(self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let held = Inventory::of(pid)?;
        match self {
            Self::Nothing => {}
            Self::Agent(agent, stopped) => {
                if stopped {
                    signal(&agent, libc::SIGCONT)?;
                }
                agent.stop()?;
            }
            Self::Empty(empty) => drop(empty),
            Self::Tracer(tracer) => drop(tracer),
        }
        held.wait_until_gone(deadline(20.0))
    }
}

fn signal(agent: &Agent<'_>, signal: libc::c_int) -> Result<()> {
    // SAFETY: a child that has not been waited for: its pid is its own.
    let code = unsafe { libc::kill(agent.pid() as libc::pid_t, signal) };
    ensure!(code == 0, "sending signal {signal} to the agent: {}", std::io::Error::last_os_error());
    Ok(())
}
