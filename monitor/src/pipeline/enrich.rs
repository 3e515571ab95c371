//! Completes what a record only points to: the program of a process, its control group, names, the time of day.

mod ancestry;
mod places;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use monitor_common::{
    event::{Actor, Kind, Record, connect, exec, held, limited},
    limit::Cause,
    limits,
    policy::masks::Direction,
};

use crate::{
    event::{Detail, Event, Opener, Program, Text, Who},
    host::{cgroup::Groups, clock::since_boot_ns, file::Tree, processes},
    policy::Names,
};
use places::Places;

use super::redact::Redactor;

/// Remembers what each process runs, and where each control group lies.
pub struct Enricher {
    /// By process id.
    programs: HashMap<u32, Known>,
    /// Processes of which `/proc` tells nothing, and when it was asked, nanoseconds since boot.
    untold: HashMap<u32, u64>,
    places: Places,
    tree: Tree,
    groups: Groups,
    redactor: Redactor,
}

/// A process that was seen or found.
#[derive(Clone)]
struct Known {
    /// Tells the process from a later one with the same id, nanoseconds since boot.
    start_ns: u64,
    /// Its parent when it was last heard of.
    ppid: u32,
    program: Arc<Program>,
    /// When `/proc` was last asked whether this still is so, nanoseconds since boot; see [`Enricher::add_ancestry`].
    asked_ns: u64,
}

/// Start times from `/proc` come in steps of this many nanoseconds (a clock tick of 1/100 s).
const TICK_NS: u64 = 10_000_000;

impl Enricher {
    /// Knows the given processes from the start.
    #[must_use]
    pub fn new(tree: Tree, groups: Groups, redactor: Redactor, found: Vec<processes::Found>) -> Self {
        let known = |found: processes::Found| (found.pid, Known::found(found, &redactor));
        let programs = found.into_iter().map(known).collect();
        Self { programs, untold: HashMap::new(), places: Places::default(), tree, groups, redactor }
    }

    /// Completes a record; `names` are those of the policy in force.
    pub fn complete(&mut self, record: &Record<'_>, names: &Names) -> Event {
        let header = record.header();
        let (actor, detail) = self.parts(record, names);
        Event {
            kind: record.kind(),
            boot_ns: header.time_ns,
            time: wall_clock(header.time_ns),
            actor,
            detail,
            finding: None,
        }
    }

    fn parts(&mut self, record: &Record<'_>, names: &Names) -> (Option<Who>, Detail) {
        match record {
            Record::Exec(record, tail) => {
                let who = self.who(&record.actor, Kind::Exec, names);
                let program = Arc::new(self.redactor.program(program(record, tail)));
                let script = Some(record.script).filter(|script| script.ino != 0);
                let mapped = record.header.flags & exec::flags::MAPPED != 0;
                // What a loader maps doesn't change what the process runs.
                if !mapped {
                    let Actor { pid, ppid, start_ns, .. } = record.actor;
                    self.learn(pid, Known::new(start_ns, ppid, Arc::clone(&program)));
                }
                (Some(who), Detail::Exec { file: record.file, program, script, mapped })
            }
            Record::Fork(record, _) => {
                let who = self.who(&record.actor, Kind::Fork, names);
                let child = Known::new(record.child_start_ns, record.child_ppid, Arc::clone(&who.program));
                self.learn(record.child_pid, child);
                let detail = Detail::Fork {
                    child_pid: record.child_pid,
                    child_ppid: record.child_ppid,
                    child_start_ns: record.child_start_ns,
                };
                (Some(who), detail)
            }
            Record::Exit(record, _) => {
                let who = self.who(&record.actor, Kind::Exit, names);
                self.programs.remove(&record.actor.pid);
                let signal = (record.status & 0x7f) as u8;
                let code = (record.status >> 8) as u8;
                let (code, signal) = if signal == 0 { (Some(code), None) } else { (None, Some(signal)) };
                (Some(who), Detail::Exit { code, signal })
            }
            Record::Connect(record, _) => {
                let datagram = record.header.flags & connect::flags::DATAGRAM != 0;
                (
                    Some(self.who(&record.actor, Kind::Connect, names)),
                    Detail::Connect { remote: record.remote, datagram },
                )
            }
            Record::Bind(record, _) => {
                (Some(self.who(&record.actor, Kind::Bind, names)), Detail::Bind { local: record.local })
            }
            Record::Listen(record, _) => {
                (Some(self.who(&record.actor, Kind::Listen, names)), Detail::Listen { local: record.local })
            }
            Record::Socket(record, _) => {
                let detail = Detail::Socket { family: record.family, protocol: record.protocol };
                (Some(self.who(&record.actor, Kind::Socket, names)), detail)
            }
            Record::Memory(record, _) => {
                let (pid, start_ns) = (record.target_pid, record.target_start_ns);
                let known = self.programs.get(&pid).filter(|known| same_start(known.start_ns, start_ns));
                let path = known.map(|known| known.program.path.clone()).unwrap_or_default();
                (Some(self.who(&record.actor, Kind::Memory, names)), Detail::Memory { pid, start_ns, path })
            }
            Record::Unix(record, tail) => {
                let path = tail.get(..usize::from(record.path_len)).unwrap_or(tail);
                let direction = Direction::from_code(record.direction as u8);
                let detail = Detail::Unix { direction, path: Text::new(path) };
                (Some(self.who(&record.actor, Kind::Unix, names)), detail)
            }
            Record::Source(record, _) => (None, Detail::Source { source: record.source }),
            Record::Held(record, _) => {
                // A number past the last one says that it had none.
                let workload = names.workloads().get(record.opener_workload as usize).cloned();
                let opener = (record.opener_pid != 0).then_some(Opener { pid: record.opener_pid, workload });
                let closed = record.header.flags & held::flags::CLOSED != 0;
                let detail = Detail::Held { remote: record.remote, opener, closed };
                (Some(self.who(&record.actor, Kind::Held, names)), detail)
            }
            Record::Limit(record, _) => (None, limited(record)),
        }
    }

    fn who(&mut self, actor: &Actor, kind: Kind, names: &Names) -> Who {
        let known = self.programs.get(&actor.pid).filter(|known| same_start(known.start_ns, actor.start_ns));
        let program = match known {
            Some(known) => Arc::clone(&known.program),
            // The record of its exec was lost. What `/proc` shows is its program still, unless this is the record of
            // its next one.
            None if kind != Kind::Exec => self.look_up(actor),
            None => Arc::default(),
        };
        Who {
            process: *actor,
            program,
            place: self.places.of(actor.cgroup, |id| self.groups.path_of(id)),
            workloads: names.of(&actor.workloads).cloned().collect(),
        }
    }

    fn look_up(&mut self, actor: &Actor) -> Arc<Program> {
        let found = processes::read(&self.tree, actor.pid);
        match found.filter(|found| same_start(found.process.start_ns, actor.start_ns)) {
            Some(found) if found.process.exe.key() == actor.exe.key() => {
                let known = Known { start_ns: actor.start_ns, ..Known::found(found, &self.redactor) };
                let program = Arc::clone(&known.program);
                self.learn(actor.pid, known);
                program
            }
            _ => Arc::default(),
        }
    }

    fn learn(&mut self, pid: u32, known: Known) {
        // Exits whose records were lost leave entries behind: the kernel's table has the same bound.
        if self.programs.len() >= limits::PROCESSES as usize {
            self.programs.retain(|pid, known| {
                processes::start_ns(*pid).is_some_and(|now| same_start(now, known.start_ns))
            });
        }
        self.programs.insert(pid, known);
    }
}

impl Known {
    fn new(start_ns: u64, ppid: u32, program: Arc<Program>) -> Self {
        Self { start_ns, ppid, program, asked_ns: 0 }
    }

    fn found(found: processes::Found, redactor: &Redactor) -> Self {
        let program = Arc::new(redactor.program(found.program));
        Self::new(found.process.start_ns, found.process.ppid, program)
    }
}

fn same_start(a: u64, b: u64) -> bool {
    a / TICK_NS == b / TICK_NS
}

/// The program of an exec, from the bytes behind its record.
fn program(record: &exec::Exec, tail: &[u8]) -> Program {
    use exec::flags;
    // One copy off the ring; path, script and arguments share it.
    let mut rest = Bytes::copy_from_slice(tail);
    let mut take = |len: u16| rest.split_to(usize::from(len).min(rest.len()));
    let path = take(record.path_len);
    // What is there is the end of a path; nobody shall take it for a whole one.
    let path = if record.header.flags & flags::PATH_TRUNCATED == 0 {
        Text::from(path)
    } else {
        Text::new([&b"..."[..], &path[..]].concat())
    };
    let script = take(record.script_len);
    let args = processes::split(&take(record.args_len));
    let noted = record.header.flags;
    let names = [
        (flags::PATH_TRUNCATED, "path_truncated"),
        (flags::UNPLACED, "unplaced"),
        (flags::MEMFD, "memfd"),
        (flags::DELETED, "deleted"),
        (flags::NO_ARGS, "no_args"),
        (flags::STALE, "stale"),
        (flags::LOADER, "loader"),
        (flags::MAPPED, "mapped"),
        (flags::KERNEL, "kernel_helper"),
        (flags::UNVERIFIED, "unverified"),
        (flags::ARGS_TRUNCATED, "args_truncated"),
    ];
    Program {
        path,
        script: (!script.is_empty()).then(|| Text::from(script)),
        args,
        args_truncated: noted & flags::ARGS_TRUNCATED != 0,
        notes: names.iter().filter(|(flag, _)| noted & flag != 0).map(|(_, name)| *name).collect(),
    }
}

/// When something happened, by the wall clock as it is set now.
fn wall_clock(boot_ns: u64) -> Timestamp {
    let since_boot = |ns: u64| SignedDuration::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX));
    let ago = since_boot(since_boot_ns()) - since_boot(boot_ns);
    Timestamp::now().checked_sub(ago).unwrap_or_default()
}

/// A source over a limit.
fn limited(record: &limited::Limit) -> Detail {
    Detail::Limit {
        source: record.source,
        prefix: record.prefix as u8,
        cause: Cause::from_code(record.cause),
        over: record.over,
        penalty_ns: (record.penalty_ns > 0).then_some(record.penalty_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_an_exec_is_split_by_its_lengths() {
        use zerocopy::FromZeros as _;
        let mut record = exec::Exec::new_zeroed();
        (record.path_len, record.script_len, record.args_len) = (4, 3, 5);
        record.header.flags = exec::flags::ARGS_TRUNCATED | exec::flags::MEMFD;
        let program = program(&record, b"/bin./xa\0bc\0more");
        assert_eq!(program.path, Text::from("/bin"));
        assert_eq!(program.script, Some(Text::from("./x")));
        assert_eq!(program.args, [Text::from("a"), Text::from("bc")]);
        assert!(program.args_truncated);
        assert_eq!(program.notes, ["memfd", "args_truncated"]);
    }

    #[test]
    fn lengths_that_lie_are_survived() {
        use zerocopy::FromZeros as _;
        let mut record = exec::Exec::new_zeroed();
        (record.path_len, record.script_len, record.args_len) = (u16::MAX, 9, 9);
        assert_eq!(program(&record, b"/x").path, Text::from("/x"));
    }

    #[test]
    fn a_record_is_completed_with_names_and_places() {
        use zerocopy::FromZeros as _;
        let config = crate::config::Loaded::from_text(
            std::path::Path::new("test.toml"),
            "[[workload]]\nname = \"api\"\nuser = [1]\n[[workload]]\nname = \"web\"\nuser = [2]\n",
        );
        let names = Names::new(&config.config.unwrap());
        let mut enricher = Enricher::new(
            Tree::open().unwrap(),
            Groups::open().unwrap(),
            Redactor::new(&crate::config::Redact::Off).unwrap(),
            Vec::new(),
        );
        let mut record = held::Held::new_zeroed();
        record.actor.workloads.insert(0);
        record.actor.workloads.insert(1);
        record.actor.cgroup = crate::host::cgroup::id_of(b"/").unwrap();
        (record.opener_pid, record.opener_workload) = (7, 1);
        let mut opener_of = |record: held::Held| {
            let event = enricher.complete(&Record::Held(record, &[]), &names);
            let who = event.actor.unwrap();
            assert_eq!(who.workloads.iter().map(|name| &**name).collect::<Vec<_>>(), ["api", "web"]);
            // Only root can open a group by its id.
            let path = rustix::process::geteuid().is_root().then(|| Text::from("/"));
            assert_eq!(who.place.map(|place| place.path.clone()), path);
            let Detail::Held { opener, .. } = event.detail else { panic!("{:?}", event.detail) };
            opener
        };
        assert_eq!(opener_of(record), Some(Opener { pid: 7, workload: Some("web".into()) }));
        record.opener_workload = limits::WORKLOADS as u32;
        assert_eq!(opener_of(record), Some(Opener { pid: 7, workload: None }));
        record.opener_pid = 0;
        assert_eq!(opener_of(record), None);
    }

    #[test]
    fn now_is_now() {
        let at = wall_clock(since_boot_ns());
        assert!(Timestamp::now().duration_since(at).abs() < SignedDuration::from_secs(1));
    }
}
