//! Rules that would lock administrators out: refused when a policy is loaded, unless they say `force = true`.
//!
//! What is asked are the same functions as the kernel's: would this rule stop the agent's own program, that of process 1, or the
//! shell of somebody who administers the host, executed by whoever logs them in; would it drop the packets of an SSH session of
//! now, or of who reads the metrics. Where the policy is limited to a part of the cgroup tree, only who lives there is asked about.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use monitor_common::{
    addr::Addr,
    identity::{ExeId, FileEntry, FileKey, Process},
    packet::TCP,
    policy::{Decision, RuleSet, WorkloadSet, decide, masks::Direction, ports::port_index, verdict},
};

use super::Compiled;
use crate::{
    config::{self, Action, Config, Diagnostic, Severity},
    event::{Program, Text},
    host::{
        accounts::Administrator,
        file::Tree,
        processes::{self, Found},
        ssh::Ssh,
    },
};

/// Programs that execute the shell of whoever logs in.
const LOGINS: [&str; 6] = ["agetty", "doas", "dropbear", "login", "su", "sudo"];
/// So many reasons are told of a rule.
const SHOWN: usize = 3;

/// What is known of the host.
pub struct Ways<'a> {
    /// Its files.
    pub tree: &'a Tree,
    /// Who administers it.
    pub administrators: &'a [Administrator],
    /// Who read the metrics lately.
    pub readers: BTreeSet<IpAddr>,
}

/// A program that must stay executable.
struct Vital {
    what: String,
    exe: ExeId,
    path: Vec<u8>,
    /// Whose it is to execute.
    ids: (u32, u32),
}

/// An error for each rule that would lock somebody out.
#[must_use]
pub fn check(config: &Config, policy: &Compiled, ways: &Ways) -> Vec<Diagnostic> {
    let mut found: BTreeMap<(bool, usize), Vec<String>> = BTreeMap::new();
    if config.execs.iter().any(is_risky) {
        for (rule, what) in stopped(config, policy, ways) {
            found.entry((false, rule)).or_default().push(what);
        }
    }
    if config.databases.iter().any(|rule| rule.sources.is_some() && cuts(rule)) && is_whole(config) {
        for (rule, what) in cut_off(config, policy, &Ssh::now(), &ways.readers) {
            found.entry((true, rule)).or_default().push(what);
        }
    }
    let diagnostic = |((database, rule), mut reasons): ((bool, usize), Vec<String>)| {
        let (name, place, verb, help) = if database {
            let rule = &config.databases[rule];
            (&rule.name, &rule.place, "drops the packets of", "add them to `sources`")
        } else {
            let rule = &config.execs[rule];
            (
                &rule.name,
                &rule.place,
                "stops",
                "name in `by` whom it is for, or leave who needs it out by `except`, or take it out of its list",
            )
        };
        reasons.dedup();
        let more = reasons.len().saturating_sub(SHOWN);
        reasons.truncate(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let message = format!("rule \"{name}\" would lock you out: it {verb} {}{more}", reasons.join(", "));
        config
            .diagnostic(Severity::Error, place, message)
            .help(format!("{help}, or write `force = true` in the rule if that is what you want"))
    };
    found.into_iter().map(diagnostic).collect()
}

/// The same as an error.
///
/// # Errors
/// When there is such a rule.
pub fn refuse(config: &Config, policy: &Compiled, ways: &Ways) -> Result<(), config::Report> {
    let found = check(config, policy, ways);
    if found.is_empty() { Ok(()) } else { Err(config::Report::new(found)) }
}

fn is_risky(rule: &config::Exec) -> bool {
    let enforces = rule.when_stale.may_enforce(rule.mode);
    enforces && rule.action != Action::Alert && rule.args.is_none() && !rule.force
}

fn cuts(rule: &config::Database) -> bool {
    rule.when_stale.may_enforce(rule.mode) && rule.action == Action::Deny && !rule.force
}

/// Whether the policy is for the whole host.
fn is_whole(config: &Config) -> bool {
    config.agent.cgroup.value == "/"
}

/// The exec rules that stop a vital program, each with what it is.
fn stopped(config: &Config, policy: &Compiled, ways: &Ways) -> Vec<(usize, String)> {
    let files = policy.files_on(ways.tree);
    let executors = executors(config, ways.tree);
    let mut found = Vec::new();
    for vital in vitals(ways) {
        let member = policy.file(&files, &vital.exe, Some(&vital.path));
        let candidates = policy.masks.exec_candidates(&member.rules);
        let candidates = policy.masks.with_arguments(&candidates, &RuleSet::EMPTY, false);
        let decides = executors.iter().find_map(|executor| {
            let who = workloads(policy, &files, executor, vital.ids);
            let decision = decide(&&policy.exec_rules[..], &candidates, &who);
            let rule = usize::from(decision.rule);
            let stops = matches!(decision.verdict, verdict::DENY | verdict::KILL);
            (stops && config.execs.get(rule).is_some_and(is_risky)).then_some(rule)
        });
        found.extend(decides.map(|rule| (rule, vital.what)));
    }
    found
}

/// What must stay executable. What can't be found out is left out.
fn vitals(ways: &Ways) -> Vec<Vital> {
    let file = |path: &Path, ids, what: &dyn Fn(&str) -> String| {
        let found = ways.tree.resolve(path).ok()?;
        let path = found.path.into_os_string().into_encoded_bytes();
        let what = what(&Text::new(path.clone()).quoted().to_string());
        Some(Vital { what, exe: found.exe, path, ids })
    };
    let running = |pid: u32| {
        let (_, path) = ways.tree.running(pid).ok()?;
        let path = path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec();
        String::from_utf8(path).ok()
    };
    let programs = [(std::process::id(), "this agent"), (1, "process 1")];
    let programs = programs.into_iter().filter_map(|(pid, what)| {
        file(Path::new(&running(pid)?), (0, 0), &|path| format!("{path} ({what})"))
    });
    let shells = ways.administrators.iter().filter_map(|account| {
        let name = Text::from(&account.name[..]).quoted().to_string();
        let what = |path: &str| format!("{path} (the login shell of {name})");
        file(Path::new(&account.shell), (account.uid, account.gid), &what)
    });
    programs.chain(shells).collect()
}

/// Who executes such programs: what logs people in, process 1, and anybody whom no rule speaks of.
fn executors(config: &Config, tree: &Tree) -> Vec<Found> {
    // A name alone is anybody's to choose.
    let is_root = |pid: u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|proc| proc.uid() == 0);
    let is_login = |pid: &u32| {
        let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else { return false };
        let name = exe.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.trim_end_matches(" (deleted)");
        let by_name = name == "sshd" || name.starts_with("sshd-") || LOGINS.contains(&name);
        *pid == 1 || by_name && is_root(*pid)
    };
    let scope = &config.agent.cgroup.value;
    let within = |pid: &u32| is_whole(config) || processes::is_below(*pid, scope);
    let pids = processes::pids().into_iter().filter(is_login).filter(within);
    let found = pids.filter_map(|pid| processes::read(tree, pid));
    found.chain(is_whole(config).then(anybody)).collect()
}

/// A process that nothing is known of.
fn anybody() -> Found {
    let program = Program {
        path: Text::from(""),
        args: Vec::new(),
        args_truncated: false,
        script: None,
        notes: Vec::new(),
    };
    Found { pid: 0, process: Process::NONE, ids: (0, 0), cgroup: b"/".to_vec(), program, host_path: None }
}

/// The workloads that somebody belongs to once they have become a user.
fn workloads(
    policy: &Compiled,
    files: &HashMap<FileKey, FileEntry>,
    executor: &Found,
    ids: (u32, u32),
) -> WorkloadSet {
    let Found { pid, process, cgroup, program, host_path, .. } = executor;
    let (cgroup, host_path, program) = (cgroup.clone(), host_path.clone(), program.clone());
    let as_user = Found { pid: *pid, process: *process, ids, cgroup, program, host_path };
    policy.judge(&as_user, None, files).workloads
}

/// The database rules that drop the packets of somebody who is connected, each with who that is.
fn cut_off(
    config: &Config,
    policy: &Compiled,
    ssh: &Ssh,
    readers: &BTreeSet<IpAddr>,
) -> Vec<(usize, String)> {
    let sessions = ssh.ports.iter().map(|port| (*port, &ssh.peers, "an SSH session of now"));
    let listen = config.metrics.listen;
    let metrics = (!listen.ip().is_loopback()).then_some((listen.port(), readers, "who reads the metrics"));
    let mut found = Vec::new();
    for (port, peers, what) in sessions.chain(metrics) {
        // What comes over the loopback device is never judged.
        for peer in peers.iter().filter(|peer| !peer.is_loopback()) {
            let decision = from(policy, port, *peer);
            let rule = usize::from(decision.rule);
            if decision.verdict == verdict::DROP && config.databases.get(rule).is_some_and(cuts) {
                found.push((rule, format!("{peer} to port {port} ({what})")));
            }
        }
    }
    found
}

/// What is decided on packets from somewhere to a port, at whatever address of this host.
fn from(policy: &Compiled, port: u16, peer: IpAddr) -> Decision {
    let by_port = policy.database_ports.get(&port_index(TCP, port)).copied().unwrap_or(RuleSet::EMPTY);
    let candidates = policy.masks.database_candidates(Direction::Source, &by_port, &RuleSet::EMPTY);
    let rules = &policy.database_rules[Direction::Source as usize][..];
    decide(&rules, &candidates, &policy.senders.look_up(&Addr::from(peer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Host, Unenforceable, ask::AnyAccounts};

    #[test]
    fn sources_that_leave_out_who_is_connected_are_told() {
        let ssh = Ssh {
            ports: BTreeSet::from([22]),
            peers: ["10.1.0.1", "192.0.2.7", "127.0.0.1"].map(|peer| peer.parse().unwrap()).into(),
        };
        let readers = BTreeSet::from(["10.1.0.9".parse().unwrap()]);
        let told = |listen: &str, rule: &str| {
            let text = format!(
                "mode = 'enforce'\nmetrics = {{ listen = '{listen}' }}\n[[database]]\nname = 'a'\n{rule}\n"
            );
            let config = Config::from_text(&text).unwrap();
            let accounts = AnyAccounts::new(None);
            let host = Host { tree: None, accounts: &accounts, cannot: Unenforceable::default() };
            let policy = Compiled::new(&config, &host).unwrap();
            cut_off(&config, &policy, &ssh, &readers).into_iter().map(|(_, what)| what).collect::<Vec<_>>()
        };
        let open = "10.1.0.2:9469";
        assert_eq!(
            told(open, "ports = [22]\nsources = ['10.1.0.0/24']"),
            ["192.0.2.7 to port 22 (an SSH session of now)"]
        );
        assert_eq!(
            told(open, "ports = ['9000-9999']\nsources = []"),
            ["10.1.0.9 to port 9469 (who reads the metrics)"]
        );
        for (listen, fine) in [
            ("127.0.0.1:9469", "ports = [9469]\nsources = []"),
            (open, "ports = [22, 9469]\nsources = ['10.1.0.0/24', '192.0.2.0/24']"),
            (open, "ports = [22]\nclients = []"),
            (open, "ports = [22]\nsources = []\nmode = 'observe'"),
            (open, "ports = [22]\nsources = []\naction = 'alert'"),
            (open, "ports = [22]\nsources = []\nforce = true"),
            (open, "ports = [5432]\nsources = []"),
        ] {
            assert!(told(listen, fine).is_empty(), "{fine}");
        }
    }
}
