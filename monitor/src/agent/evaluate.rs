//! A policy in maps of its own, attached to nothing, to ask the kernel what it would decide.

pub mod packets;

use std::collections::HashSet;

use anyhow::Result;
use monitor_common::{
    policy::Decision,
    question::{Question, kind},
    settings::Settings,
};

use super::prepare::Ground;
use crate::{
    config::Rings,
    kernel::{
        load::{Kernel, KernelLog, Room, Sizes},
        tables::Files,
    },
    policy::ask::{Asked, Asker, Reply, executes},
};

/// The kernel's side of a policy.
pub struct Evaluator {
    kernel: Kernel,
    /// Keeps its map.
    _files: Files,
    /// Cgroups that the kernel was told of.
    cgroups: HashSet<u64>,
}

impl Evaluator {
    /// Loads the policy and the program that answers.
    ///
    /// # Errors
    /// What keeps it from the kernel.
    pub fn new(asker: &mut Asker) -> Result<Self> {
        let ground = Ground::look()?;
        let (scope_cgroup, scope_level) = asker.scope();
        let settings = Settings { scope_cgroup, scope_level, ..ground.settings };
        let policy = asker.policy();
        let sizes = Sizes {
            databases: policy.database_rules[0].len(),
            listens: policy.listen_ports.len(),
            rate_limits: 0,
            source_sets: policy.source_sets,
            rings: Rings::NONE,
            room: Room::USUAL,
        };
        let mut kernel = Kernel::open(&ground.types, &ground.layout, &settings, sizes, KernelLog::Off)?;
        for probe in Kernel::evaluators() {
            kernel.load(probe)?;
        }
        kernel.apply(policy)?;
        let mut files = Files::new(&mut kernel)?;
        files.update(asker.files().clone())?;
        Ok(Self { kernel, _files: files, cgroups: HashSet::new() })
    }

    /// Has the kernel decide.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub fn ask(&mut self, asker: &Asker, asked: &Asked) -> Result<Reply> {
        for (path, id) in asker.cgroups() {
            if self.cgroups.insert(*id) {
                self.make(path, *id)?;
            }
        }
        if asked.is_never_judged() {
            return Ok(Reply::NOTHING);
        }
        match asked.scripts.is_empty() {
            true => self.reply(&asked.question),
            false => self.ask_of_scripts(asked),
        }
    }

    fn reply(&self, question: &Question) -> Result<Reply> {
        let answer = self.kernel.evaluate(question)?;
        Ok(Reply { decision: answer.decision(), workloads: answer.workloads, without_lsm: None })
    }

    /// As the hooks are asked: the security hook for each script and for the interpreter, then the tracepoint for all.
    fn ask_of_scripts(&self, asked: &Asked) -> Result<Reply> {
        let mut alone = asked.question.clone();
        alone.kind = kind::FILE;
        let mut said = Vec::new();
        // The interpreter first: what is asked about after it, the kernel program keeps as scripts.
        for (index, file) in asked.file.iter().chain(&asked.scripts).enumerate() {
            alone.has_script = u32::from(index > 1);
            executes(&mut alone, file);
            said.push(self.reply(&alone)?.decision);
        }
        said.rotate_left(1);
        let mut whole = asked.question.clone();
        let without_lsm = Some(self.reply(&whole)?.decision);
        whole.has_script = 1;
        let reply = self.reply(&whole)?;
        let refusal = said.into_iter().find(|decision| *decision != Decision::NONE);
        Ok(Reply { decision: refusal.unwrap_or(reply.decision), without_lsm, ..reply })
    }

    /// Tells the kernel of a cgroup, as the hook would that sees one being made.
    fn make(&self, path: &[u8], id: u64) -> Result<()> {
        let mut question = Question::BLANK;
        question.kind = kind::CGROUP_MADE;
        question.cgroups[0] = id;
        // A longer one is kept by nobody; what is above it holds for it.
        if let Some(to) = question.path.get_mut(..path.len()) {
            to.copy_from_slice(path);
            question.path_from = path.len() as u16;
            self.kernel.evaluate(&question)?;
        }
        Ok(())
    }
}
