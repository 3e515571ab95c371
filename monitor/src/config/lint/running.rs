//! What lists of all that may be executed would break of what runs now.

use std::collections::{BTreeSet, HashMap};

use monitor_common::identity::Process;
use monitor_common::policy::{NO_RULE, RuleSet, decide};

use super::Lints;
use super::lists::examples;
use super::policy::Policy;
use crate::config::model::{Exec, ListKind};
use crate::config::source::quoted;
use crate::host::file::Tree;
use crate::host::processes::{self, Found};

pub(super) fn check(lints: &mut Lints, policy: &Policy) {
    let (config, Some(tree)) = (lints.config, &lints.facts.tree) else { return };
    let is_list = |rule: &Exec| rule.list == ListKind::Allow;
    if !config.execs.iter().any(is_list) {
        return;
    }
    let running = look(tree, policy);
    for (index, rule) in config.execs.iter().enumerate().filter(|(_, rule)| is_list(rule)) {
        let broken = broken(policy, index, &running);
        if !broken.is_empty() {
            let message = format!("{} would break what runs now: {}", quoted(&rule.name), examples(&broken));
            let help =
                "add what is needed; with `mode = \"observe\"` the rule reports what else it would stop";
            lints.warn(&rule.place, message, help);
        }
    }
}

/// The processes of this host as far as they may be seen, with what policy says of them, by id.
fn look(tree: &Tree, policy: &Policy) -> HashMap<u32, (Found, Process)> {
    let mut found: Vec<_> =
        processes::pids().into_iter().filter_map(|pid| processes::read(tree, pid)).collect();
    // Parents first: ids are used anew, start times aren't.
    found.sort_by_key(|found| (found.process.start_ns, found.pid));
    let mut known: HashMap<u32, (Found, Process)> = HashMap::new();
    for found in found {
        let parent = known.get(&found.process.ppid).map(|(_, parent)| *parent);
        let process = policy.compiled.judge(&found, parent, &policy.files);
        known.insert(found.pid, (found, process));
    }
    known
}

/// The programs that a rule would have stopped, if those that started them were then what they are now.
fn broken(policy: &Policy, index: usize, running: &HashMap<u32, (Found, Process)>) -> BTreeSet<String> {
    let mut this = RuleSet::EMPTY;
    this.insert(index);
    let rules = &policy.compiled.exec_rules[..];
    let is_broken = |(found, _): &&(Found, Process)| {
        let Some((maker, by)) = running.get(&found.process.ppid) else { return false };
        // This is only the one who asks. A child that runs what its parent runs was most likely never executed.
        found.pid != std::process::id()
            && !maker.process.exe.same(&found.process.exe)
            && decide(&rules, &this, &by.workloads).rule != NO_RULE
            && !policy.lists(index, &found.process.exe, found.host_path.as_deref(), &found.program.notes)
    };
    running.values().filter(is_broken).map(|(found, _)| found.program.path.to_string()).collect()
}
