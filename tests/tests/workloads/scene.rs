//! The stage: a server with a port for each workload, programs, and a slice that is the agent's scope.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    life::Life,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

/// The programs: the same code in three files.
pub const PROGRAMS: [&str; 3] = ["a", "b", "c"];

pub struct Scene {
    pub place: Place,
    pub slice: Cgroup,
    pub server: Server,
    workloads: Vec<&'static str>,
}

impl Scene {
    /// A stage for these workloads.
    pub fn new(workloads: &[&'static str]) -> Result<Self> {
        let place = Place::new()?;
        for name in PROGRAMS {
            place.copy("probe", name)?;
        }
        let addresses = vec!["127.0.0.1:0"; workloads.len()];
        let server = Server::start(&place, None, &addresses, &[])?;
        Ok(Self { place, slice: Cgroup::slice()?, server, workloads: workloads.into() })
    }

    /// A text with the names of programs and of the slice in it.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{slice}", &self.slice.scope());
        text = text.replace("{groups}", &self.slice.path().display().to_string());
        for name in PROGRAMS {
            text = text.replace(&format!("{{{name}}}"), &self.place.join(name).display().to_string());
        }
        text
    }

    /// An agent with these workloads, each the only client of its database.
    pub fn agent(&self, mode: Mode, workloads: &str) -> Result<Agent<'static>> {
        let mut rules = self.fill(workloads);
        for (name, address) in self.workloads.iter().zip(self.server.tcp()) {
            rules += &format!(
                "\n[[database]]\nname = \"of {name}\"\nports = [{}]\nclients = [{name:?}]\n",
                address.port()
            );
        }
        Setup::new(mode, &self.slice).rules(&rules).start()
    }

    /// A program in a cgroup.
    pub fn program(&self, path: &PathBuf, group: &Cgroup) -> Result<Program> {
        Program::new(path).inside(group)
    }

    /// The workloads of a process by the databases that it reaches.
    pub fn workloads(&self, life: &mut Life) -> Result<Vec<&'static str>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tag = format!("reach-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let outcomes = life.reach(self.server.tcp(), &tag)?;
        let mut reached = Vec::new();
        for (name, outcome) in self.workloads.iter().zip(outcomes) {
            match outcome.as_str() {
                "ok" => reached.push(*name),
                "EPERM" => {}
                other => bail!("the database of {name}: {other}"),
            }
        }
        self.server.wait_for(&tag, reached.len() as u64, deadline(10.0))?;
        assert_eq!(self.server.arrived(Some(&tag))?, reached.len() as u64, "refused, and yet there");
        Ok(reached)
    }

    /// All workloads: what a process reaches when nothing is enforced.
    pub fn all(&self) -> &[&'static str] {
        &self.workloads
    }
}

/// A life, and to which workloads it leads.
pub struct Case {
    pub what: &'static str,
    /// The cgroup below the slice.
    pub group: &'static str,
    /// The first program.
    pub program: &'static str,
    pub steps: &'static [&'static str],
    pub workloads: &'static [&'static str],
    /// Whether an agent that starts later can know all that from what it finds.
    pub later: bool,
}

impl Case {
    /// Lives the life up to its last step.
    pub fn live(&self, scene: &Scene) -> Result<(Cgroup, Life)> {
        let group = scene.slice.below(self.group)?;
        let mut life = Life::start(scene.program(&scene.place.join(self.program), &group)?)?;
        for step in self.steps {
            life.tell(&scene.fill(step))?;
        }
        Ok((group, life))
    }
}

/// Without an agent and with one that observes everybody reaches everything; with one that enforces, those who are members:
/// of lives that began before it, and of lives that began after.
pub fn check(scene: &Scene, workloads: &str, cases: &[Case]) -> Result<()> {
    for mode in Mode::BOTH {
        let mut older = Vec::new();
        for case in cases.iter().filter(|case| case.later) {
            let (group, mut life) = case.live(scene)?;
            assert_eq!(scene.workloads(&mut life)?, scene.all(), "{}: without an agent", case.what);
            older.push((case, life, group));
        }
        let agent = scene.agent(mode, workloads)?;
        agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(2.0))?;
        let expected = |case: &Case| match mode {
            Mode::Observe => scene.all().to_vec(),
            Mode::Enforce => case.workloads.to_vec(),
        };
        // Several lives are in one group, which ends with everybody in it.
        let mut groups = Vec::new();
        for (case, mut life, group) in older {
            groups.push(group);
            assert_eq!(
                scene.workloads(&mut life)?,
                expected(case),
                "{}: older than the agent, {mode:?}",
                case.what
            );
        }
        for case in cases {
            let (_group, mut life) = case.live(scene)?;
            assert_eq!(scene.workloads(&mut life)?, expected(case), "{}, {mode:?}", case.what);
        }
        agent.stop()?;
    }
    Ok(())
}
