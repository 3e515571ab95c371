//! Asks a compiled policy, without a kernel: the evaluator of `monitor-common` over what user space knows.

mod facts;
pub mod packet;
mod reasons;
mod request;
mod script;
mod story;
mod weigh;

use std::collections::HashMap;

use anyhow::{Context as _, Result};
pub use facts::{AnyAccounts, Files, Located};
use monitor_common::{
    addr::Addr,
    event::Endpoint,
    identity::{FileEntry, FileKey},
    limits,
    packet::{TCP, UDP},
    policy::{Decision, WorkloadSet},
    question::{Question, kind},
};
pub use request::{Bind, Connect, End, Exec, Raw, Request, Source, Unix, Who};
pub use story::{Belongs, Brief, Step, Story};

use super::{Accounts as _, Compiled, Host, Names, Unenforceable};
use crate::{
    config::{Config, nearest},
    event::Text,
    host::file::Tree,
};

/// A policy that can be asked.
pub struct Asker<'a> {
    config: &'a Config,
    policy: Compiled,
    names: Names,
    accounts: AnyAccounts,
    files: Files<'a>,
    cgroups: HashMap<Vec<u8>, u64>,
}

/// A request with everything that a hook would know of it.
pub struct Asked {
    /// As it was made.
    pub request: Request,
    /// As the kernel is asked.
    pub question: Box<Question>,
    /// The cgroup of the process, if it was given.
    pub cgroup: Option<Vec<u8>>,
    /// The program that the process runs, if it was given.
    pub exe: Option<Located>,
    /// The file that is executed; of a script, its interpreter.
    pub file: Option<Located>,
    /// The scripts that lead to it, the one that is named first.
    pub scripts: Vec<Located>,
    /// Where the socket lies.
    pub socket: Option<Vec<u8>>,
}

/// What is decided, by whichever side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The decision.
    pub decision: Decision,
    /// The workloads that the process belongs to.
    pub workloads: WorkloadSet,
    /// Of a script, the decision where no security hook runs, and only its interpreter is seen.
    pub without_lsm: Option<Decision>,
}

impl Reply {
    /// No rule decides about nobody.
    pub const NOTHING: Self =
        Self { decision: Decision::NONE, workloads: WorkloadSet::EMPTY, without_lsm: None };
}

impl<'a> Asker<'a> {
    /// Compiles a policy, as if the kernel could carry out everything. `tree` is where links are followed.
    ///
    /// # Errors
    /// Names what a bound or the policy itself forbids.
    pub fn new(config: &'a Config, tree: Option<&'a Tree>) -> Result<Self> {
        let accounts = AnyAccounts::new(tree);
        let host = Host { tree, accounts: &accounts, cannot: Unenforceable::default() };
        let policy = Compiled::new(config, &host)?;
        let files = Files::new(tree, &policy);
        Ok(Self { config, names: Names::new(config), policy, accounts, files, cgroups: HashMap::new() })
    }

    /// The compiled policy.
    #[must_use]
    pub fn policy(&self) -> &Compiled {
        &self.policy
    }

    /// The names of rules and workloads.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The files that the policy names by path.
    #[must_use]
    pub fn files(&self) -> &HashMap<FileKey, FileEntry> {
        self.files.known()
    }

    /// Id and depth of the cgroup that the policy is limited to.
    pub fn scope(&mut self) -> (u64, u32) {
        let path = self.config.agent.cgroup.value.as_bytes().to_vec();
        let level = facts::levels(&path).count() as u32 - 1;
        (self.cgroup_id(&path), level)
    }

    /// Ids of cgroups, which are invented here, by their paths.
    #[must_use]
    pub fn cgroups(&self) -> &HashMap<Vec<u8>, u64> {
        &self.cgroups
    }

    fn cgroup_id(&mut self, path: &[u8]) -> u64 {
        let next = self.cgroups.len() as u64 + 1;
        *self.cgroups.entry(path.to_vec()).or_insert(next)
    }

    /// Finds out what a request is about.
    ///
    /// # Errors
    /// Says what can't be asked, and what to write instead.
    pub fn ask(&mut self, request: &Request) -> Result<Asked> {
        let mut asked = Asked {
            request: request.clone(),
            question: Box::new(Question::BLANK),
            cgroup: None,
            exe: None,
            file: None,
            scripts: Vec::new(),
            socket: None,
        };
        if let Some(who) = request.who() {
            self.look_at(who, &mut asked)?;
        }
        let question = &mut asked.question;
        match request {
            Request::Connect(Connect { to, udp, .. }) => {
                (question.kind, question.to) = (kind::CONNECT, endpoint(to.0.ip(), to.0.port(), *udp));
            }
            Request::Bind(Bind { to, udp, .. }) => {
                (question.kind, question.to) = (kind::BIND, endpoint(to.0.ip(), to.0.port(), *udp));
            }
            Request::Source(Source { from, to_port, to, udp }) => {
                question.kind = kind::SOURCE;
                question.from = Addr::from(*from);
                question.to = endpoint(to.unwrap_or(*from), *to_port, *udp);
                question.has_address = u32::from(to.is_some());
            }
            Request::Exec(exec) => self.look_at_exec(exec, &mut asked)?,
            Request::Unix(Unix { socket, bind, .. }) => {
                question.kind = if *bind { kind::UNIX_BIND } else { kind::UNIX_CONNECT };
                let path = self.files.socket(socket)?;
                question.path_from = at_end(&path, &mut question.path);
                asked.socket = Some(path);
            }
            Request::Raw(_) => question.kind = kind::RAW,
        }
        Ok(asked)
    }

    fn look_at(&mut self, who: &Who, asked: &mut Asked) -> Result<()> {
        let question = &mut asked.question;
        if let Some(exe) = &who.exe {
            let located = self.files.locate(exe)?;
            (question.exe, question.exe_notes) = (located.exe, located.notes);
            question.exe_from = at_end(&located.path, &mut question.exe_path);
            asked.exe = Some(located);
        }
        if let Some(user) = &who.user {
            question.uid = facts::id(user, |name| self.accounts.user(name))?;
        }
        if let Some(group) = &who.group {
            question.gid = facts::id(group, |name| self.accounts.group(name))?;
        }
        question.parents = self.workloads(&who.parent)?;
        question.ancestors = self.workloads(&who.ancestor)?;
        let unit = who.unit.as_ref().map(|unit| format!("/system.slice/{unit}"));
        if let Some(path) = who.cgroup.as_ref().or(unit.as_ref()) {
            let path = facts::cgroup(path)?;
            for (slot, level) in question.cgroups.iter_mut().zip(facts::levels(&path)) {
                *slot = self.cgroup_id(level);
            }
            asked.cgroup = Some(path);
        }
        Ok(())
    }

    fn look_at_exec(&mut self, exec: &Exec, asked: &mut Asked) -> Result<()> {
        let script::Chain { scripts, file, arguments } = self.files.follow(exec)?;
        let question = &mut asked.question;
        question.kind = kind::EXEC;
        executes(question, &file);
        let mut text = Vec::new();
        arguments.iter().for_each(|argument| text.extend(argument.iter().copied().chain([0])));
        question.args_cut = u16::from(text.len() > limits::ARGS);
        text.truncate(limits::ARGS);
        question.args_len = text.len() as u16;
        question.args[..text.len()].copy_from_slice(&text);
        (asked.file, asked.scripts) = (Some(file), scripts);
        Ok(())
    }

    fn workloads(&self, named: &[String]) -> Result<WorkloadSet> {
        let mut set = WorkloadSet::EMPTY;
        let known = || self.config.workloads.iter().map(|workload| &workload.name[..]);
        for name in named {
            let index = known().position(|known| known == name).with_context(|| {
                let near = nearest(name, known());
                let near = near.map(|near| format!("; did you mean {}?", Text::from(near).quoted()));
                format!(
                    "the policy has no workload {}{}",
                    Text::from(&name[..]).quoted(),
                    near.unwrap_or_default()
                )
            })?;
            set.insert(index);
        }
        Ok(set)
    }
}

impl Asked {
    /// Whether it never comes to the kernel programs: what is sent over the loopback device has a loopback address, and nothing
    /// else has.
    #[must_use]
    pub fn is_never_judged(&self) -> bool {
        matches!(&self.request, Request::Source(source) if source.from.to_canonical().is_loopback())
    }
}

/// Has a question be about the exec of a file.
pub fn executes(question: &mut Question, file: &Located) {
    (question.file, question.file_notes) = (file.exe, file.notes);
    question.path_from = at_end(&file.path, &mut question.path);
}

fn endpoint(ip: std::net::IpAddr, port: u16, udp: bool) -> Endpoint {
    let family = if ip.is_ipv4() { 4 } else { 6 };
    Endpoint { addr: Addr::from(ip), port, protocol: if udp { UDP } else { TCP }, family, zero: 0 }
}

/// Writes a path to the end of an array; where it begins. One that is too long is left out.
fn at_end(path: &[u8], array: &mut [u8; limits::PATH]) -> u16 {
    let from = array.len().saturating_sub(path.len());
    if path.len() <= array.len() {
        array[from..].copy_from_slice(path);
        return from as u16;
    }
    limits::PATH as u16
}

#[cfg(test)]
mod tests;
