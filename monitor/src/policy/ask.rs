//! Asks a compiled policy, without a kernel: the evaluator of `monitor-common` over what user space knows.

mod facts;
mod reasons;
mod request;
mod story;

use anyhow::{Context as _, Result};
use monitor_common::{
    addr::Addr,
    event::{Endpoint, exec::flags},
    identity::{FileEntry, FileKey, LOADER, Process},
    limits,
    packet::{TCP, UDP},
    policy::{Decision, Membership, RuleSet, WorkloadSet, decide, masks::Direction},
    question::{Question, kind},
    settings::{class, tag},
};
use std::collections::HashMap;

pub use facts::{AnyAccounts, Files, Located};
pub use request::{Bind, Connect, End, Exec, Raw, Request, Source, Unix, Who};
pub use story::{Belongs, Step, Story};

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
    /// The file that is executed.
    pub file: Option<Located>,
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
}

/// What was found out on the way to a decision.
struct Weighed {
    process: Process,
    /// By its cgroup, user and group.
    places: [WorkloadSet; 3],
    /// What policy says of the file or socket that is asked for.
    object: Membership,
    /// Exec rules whose condition on arguments holds.
    met: RuleSet,
    candidates: RuleSet,
    decision: Decision,
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
    ///
    /// # Errors
    /// If it lies deeper than can be asked.
    pub fn scope(&mut self) -> Result<(u64, u32)> {
        let path = self.config.agent.cgroup.value.as_bytes().to_vec();
        let level = facts::levels(&path).count() as u32 - 1;
        Ok((self.cgroup_id(&path), level))
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
            Request::Exec(Exec { file, args, .. }) => {
                let located = self.files.locate(file)?;
                question.kind = kind::EXEC;
                (question.file, question.file_notes) = (located.exe, located.notes);
                question.path_from = at_end(&located.path, &mut question.path);
                let own = file.as_bytes();
                let mut text: Vec<u8> = own.rsplit(|byte| *byte == b'/').next().unwrap_or(own).to_vec();
                text.push(0);
                args.iter().for_each(|arg| text.extend(arg.bytes().chain([0])));
                question.args_cut = u16::from(text.len() > limits::ARGS);
                text.truncate(limits::ARGS);
                question.args_len = text.len() as u16;
                question.args[..text.len()].copy_from_slice(&text);
                asked.file = Some(located);
            }
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

    /// Decides, here in user space.
    #[must_use]
    pub fn decide(&mut self, asked: &Asked) -> Reply {
        let weighed = self.weigh(asked);
        Reply { decision: weighed.decision, workloads: weighed.process.workloads }
    }

    fn weigh(&mut self, asked: &Asked) -> Weighed {
        let question = &asked.question;
        let (process, places) = match question.kind {
            kind::SOURCE => (Process::NONE, [WorkloadSet::EMPTY; 3]),
            _ => self.subject(asked),
        };
        let mut found = Weighed {
            process,
            places,
            object: Membership::NONE,
            met: RuleSet::EMPTY,
            candidates: RuleSet::EMPTY,
            decision: Decision::NONE,
        };
        let in_scope = self.scope().is_ok_and(|(id, level)| question.is_in_scope(id, level));
        self.weigh_object(asked, &mut found);
        let rules = match question.kind {
            kind::EXEC => &self.policy.exec_rules[..],
            kind::RAW => self.policy.raw_rule.as_slice(),
            other => &self.policy.database_rules[direction(other) as usize][..],
        };
        if in_scope {
            found.decision = match question.kind {
                kind::SOURCE => {
                    decide(&rules, &found.candidates, &self.policy.senders.look_up(&question.from))
                }
                _ => decide(&rules, &found.candidates, &found.process.workloads),
            };
        }
        found
    }

    /// Finds the rules that speak of what is asked for.
    fn weigh_object(&self, asked: &Asked, found: &mut Weighed) {
        let (policy, question) = (&self.policy, &asked.question);
        match question.kind {
            kind::EXEC => {
                found.object = asked.file.as_ref().map_or(Membership::NONE, |file| self.file(file));
                let args = &question.args[..usize::from(question.args_len)];
                found.met = policy.globs.tagged(tag::ARGUMENTS, args).rules;
                let candidates = policy.masks.exec_candidates(&found.object.rules);
                let cut = question.args_cut != 0;
                found.candidates = policy.masks.with_arguments(&candidates, &found.met, cut);
            }
            kind::UNIX_CONNECT | kind::UNIX_BIND => {
                let path = asked.socket.as_deref().filter(|path| path.len() <= limits::PATH);
                found.object = path.map_or(Membership::NONE, |path| policy.globs.tagged(tag::SOCKET, path));
                let all = RuleSet { bits: [u64::MAX; limits::RULES / 64] };
                let named = &found.object.rules;
                found.candidates = policy.masks.database_candidates(direction(question.kind), named, &all);
            }
            kind::RAW => {
                if policy.raw_rule.is_some() {
                    found.candidates.insert(0);
                }
            }
            kind::SOURCE if question.has_address == 0 => {
                found.candidates = policy
                    .database_candidates(Direction::Source, &question.to)
                    .and(&policy.masks.any_address);
            }
            other => found.candidates = policy.database_candidates(direction(other), &question.to),
        }
    }

    /// The process that asks, as the kernel would remember it; and its workloads by cgroup, user and group.
    fn subject(&self, asked: &Asked) -> (Process, [WorkloadSet; 3]) {
        let (policy, question) = (&self.policy, &asked.question);
        let (masks, kin) = (&policy.masks, &&policy.kin[..]);
        let (mut maker, mut process) = (Process::NONE, Process::NONE);
        question.beget(&mut maker, &mut process, masks, kin);
        let member = asked.exe.as_ref().map_or(Membership::NONE, |exe| self.file(exe));
        process.becomes(question.exe, &member.workloads, masks, kin);
        if member.flags & Membership::LOADER != 0 {
            process.flags |= LOADER;
        }
        let of =
            |table: &HashMap<u32, WorkloadSet>, id| table.get(&id).copied().unwrap_or(WorkloadSet::EMPTY);
        let cgroup = asked.cgroup.as_deref().map_or(WorkloadSet::EMPTY, |path| policy.cgroup(path));
        let places = [cgroup, of(&policy.users, question.uid), of(&policy.groups, question.gid)];
        process.place(masks, &places[0], &places[1], &places[2]);
        (process, places)
    }

    /// What policy says of a file.
    fn file(&self, file: &Located) -> Membership {
        let classes = [
            (flags::PATH_TRUNCATED, class::OVERLONG),
            (flags::MEMFD, class::MEMFD),
            (flags::UNPLACED, class::UNPLACED),
            (flags::DELETED, class::DELETED),
        ];
        let path = (!file.path.is_empty()).then_some(&file.path[..]);
        let mut member = self.policy.file(self.files.known(), &file.exe, path);
        for (_, class) in classes.iter().filter(|(flag, _)| file.notes & flag != 0) {
            member.add(&self.policy.classes[*class as usize]);
        }
        member
    }
}

/// The side of a database that a kind of question is about.
fn direction(kind: u32) -> Direction {
    match kind {
        kind::BIND | kind::UNIX_BIND => Direction::Server,
        kind::SOURCE => Direction::Source,
        _ => Direction::Client,
    }
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
