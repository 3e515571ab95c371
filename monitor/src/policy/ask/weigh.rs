//! Weighs a request in user space: the steps of the hooks, over the compiled policy instead of maps.

use std::collections::HashMap;

use monitor_common::{
    event::exec::flags,
    identity::{LOADER, Process},
    limits,
    policy::{Decision, Membership, RuleSet, WorkloadSet, decide, masks::Direction},
    question::kind,
    settings::{class, tag},
};

use super::{Asked, Asker, Located, Reply};

/// What was found out on the way to a decision.
pub(super) struct Weighed {
    /// Who asks, as the kernel would remember it.
    pub(super) process: Process,
    /// By its cgroup, user and group.
    pub(super) places: [WorkloadSet; 3],
    /// What policy says of the socket that is asked for.
    pub(super) object: Membership,
    /// The files that were judged together, and what policy says of them: a script with its interpreter, or one of them alone if
    /// that is refused.
    pub(super) files: Vec<(Located, Membership)>,
    /// Of a script, the decision where only its interpreter is seen.
    pub(super) without_lsm: Option<Decision>,
    /// Exec rules whose condition on arguments holds.
    pub(super) met: RuleSet,
    /// The rules that speak of it.
    candidates: RuleSet,
    pub(super) decision: Decision,
}

impl Asker<'_> {
    /// Decides, here in user space.
    #[must_use]
    pub fn decide(&mut self, asked: &Asked) -> Reply {
        let weighed = self.weigh(asked);
        let Weighed { decision, without_lsm, .. } = weighed;
        Reply { decision, workloads: weighed.process.workloads, without_lsm }
    }

    /// Decides, and keeps what was found out.
    pub(super) fn weigh(&mut self, asked: &Asked) -> Weighed {
        let question = &asked.question;
        let (process, places) = match question.kind {
            kind::SOURCE => (Process::NONE, [WorkloadSet::EMPTY; 3]),
            _ => self.subject(asked),
        };
        let mut found = Weighed {
            process,
            places,
            object: Membership::NONE,
            files: Vec::new(),
            without_lsm: None,
            met: RuleSet::EMPTY,
            candidates: RuleSet::EMPTY,
            decision: Decision::NONE,
        };
        let (id, level) = self.scope();
        if question.kind == kind::EXEC {
            self.weigh_exec(asked, &mut found, question.is_in_scope(id, level));
            return found;
        }
        let in_scope = question.is_in_scope(id, level) && !asked.is_never_judged();
        self.weigh_object(asked, &mut found);
        let rules = match question.kind {
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

    /// Decides about an exec: if there are several files, first about each alone, as the security hook does; then about what the
    /// tracepoint sees.
    fn weigh_exec(&self, asked: &Asked, found: &mut Weighed, in_scope: bool) {
        let (policy, question) = (&self.policy, &asked.question);
        let args = &question.args[..usize::from(question.args_len)];
        found.met = policy.globs.tagged(tag::ARGUMENTS, args).rules;
        let judge = |candidates: &RuleSet| match in_scope {
            true => decide(&&policy.exec_rules[..], candidates, &found.process.workloads),
            false => Decision::NONE,
        };
        let candidates = |member: &Membership| policy.masks.exec_candidates(&member.rules);
        let together = |files: &[(Located, Membership)]| {
            let mut all = RuleSet::EMPTY;
            files.iter().for_each(|(_, member)| all.add(&candidates(member)));
            judge(&policy.masks.with_arguments(&all, &found.met, question.args_cut != 0))
        };
        let known = |file: &Located| (file.clone(), self.file(file));
        let mut files: Vec<_> = asked.scripts.iter().chain(&asked.file).map(known).collect();
        if files.len() > 1 {
            found.without_lsm = Some(together(&files[files.len() - 1..]));
            let refusal =
                |(_, member): &(Located, Membership)| policy.masks.refusal(judge(&candidates(member)));
            if let Some(at) = files.iter().position(|file| refusal(file) != Decision::NONE) {
                files = vec![files.swap_remove(at)];
                found.decision = refusal(&files[0]);
                found.files = files;
                return;
            }
        }
        found.decision = together(&files);
        found.files = files;
    }

    /// Finds the rules that speak of what is asked for.
    fn weigh_object(&self, asked: &Asked, found: &mut Weighed) {
        let (policy, question) = (&self.policy, &asked.question);
        match question.kind {
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
        let mut process = Process::NONE;
        question.beget(&mut process, masks, kin);
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
