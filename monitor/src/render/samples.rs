//! Events for tests: some plain ones, and a generator of hostile ones.

use std::sync::Arc;

use monitor_common::{
    addr::Addr,
    event::{Actor, Endpoint, Kind},
    identity::{ExeId, kernel_dev},
    limit::Cause,
    policy::{Mode, RuleKind, WorkloadSet, masks::Direction, verdict},
};
use proptest::prelude::*;

use crate::{
    event::{Ancestor, Detail, Event, Finding, Opener, Phase, Place, Program, Repeats, Tags, Text, Who},
    host::placement::{Container, Placement, Runtime},
};

pub(crate) fn exe(ino: u64) -> ExeId {
    ExeId { ino, size: 4096, ctime_s: 1_700_000_000, ctime_ns: 5, dev: kernel_dev(253, 1) }
}

pub(crate) fn program(path: &str, args: &[&str]) -> Program {
    Program {
        path: path.into(),
        args: args.iter().map(|arg| Text::from(*arg)).collect(),
        ..Program::default()
    }
}

pub(crate) fn who() -> Who {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"bash");
    Who {
        process: Actor {
            start_ns: 7,
            cgroup: 42,
            exe: exe(11),
            pid: 4242,
            ppid: 1,
            uid: 1000,
            gid: 100,
            comm,
            ..Actor::NONE
        },
        program: Arc::new(program("/usr/bin/bash", &["bash", "-i"])),
        place: None,
        workloads: Vec::new(),
    }
}

pub(crate) fn end(addr: [u8; 4], port: u16, protocol: u8) -> Endpoint {
    Endpoint { addr: Addr::v4(addr), port, protocol, family: 4, zero: 0 }
}

pub(crate) fn event(kind: Kind, detail: Detail) -> Event {
    Event {
        kind,
        boot_ns: 123_456_789,
        time: "2026-11-23T17:40:32.000000001Z".parse().unwrap(),
        actor: (!matches!(kind, Kind::Limit | Kind::Source)).then(who),
        detail,
        finding: None,
    }
}

pub(crate) fn exec() -> Event {
    let program = Arc::new(program("/usr/bin/ls", &["ls", "-la", "a b"]));
    event(Kind::Exec, Detail::Exec { file: exe(12), program, script: None, mapped: false })
}

/// What bash did in a control group.
pub(crate) fn placed(path: &str) -> Event {
    let place = Place { path: path.into(), placement: Placement::of(path.as_bytes()) };
    let who = Who { place: Some(Arc::new(place)), workloads: vec!["api".into(), "shells".into()], ..who() };
    let exit = Detail::Exit { code: Some(0), signal: None };
    Event { actor: Some(who), ..event(Kind::Exit, exit) }
}

pub(crate) fn unix(direction: Direction) -> Event {
    let path = "/run/postgresql/.s.PGSQL.5432".into();
    event(Kind::Unix, Detail::Unix { direction, path })
}

pub(crate) fn held(opener: Option<Opener>, closed: bool) -> Event {
    event(Kind::Held, Detail::Held { remote: end([10, 0, 0, 1], 5432, 6), opener, closed })
}

pub(crate) fn denied_connect() -> Event {
    let detail = Detail::Connect { remote: end([10, 0, 0, 1], 5432, 6), datagram: false };
    Event {
        finding: Some(finding("orders", RuleKind::Database, verdict::DENY)),
        ..event(Kind::Connect, detail)
    }
}

pub(crate) fn finding(rule: &str, rule_kind: RuleKind, verdict: u8) -> Finding {
    Finding {
        rule: rule.into(),
        rule_kind,
        verdict,
        mode: Mode::Enforce,
        why: "only api may connect".to_owned(),
        tags: Arc::default(),
        phase: Phase::Before,
        generation: 3,
        ancestry: Vec::new(),
        repeats: None,
    }
}

pub(crate) fn limited() -> Event {
    let source = Endpoint {
        addr: Addr { bytes: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0] },
        port: 443,
        protocol: 6,
        family: 6,
        zero: 0,
    };
    let found = Finding { mode: Mode::Observe, ..finding("https", RuleKind::RateLimit, verdict::DROP) };
    Event { finding: Some(found), ..event(Kind::Limit, limited_detail(source)) }
}

/// A source over its rate, which brought it a penalty.
pub(crate) fn limited_detail(source: Endpoint) -> Detail {
    let (cause, penalty_ns) = (Some(Cause::Connections), Some(60_000_000_000));
    Detail::Limit { source, prefix: 64, cause, over: 17, penalty_ns }
}

/// One of each kind, in the order of their codes, by processes of a unit.
pub(crate) fn each_kind() -> Vec<Event> {
    let found = |event, verdict| {
        let found = finding("orders", RuleKind::Database, verdict);
        Event { finding: Some(found), ..event }
    };
    let opener = Some(Opener { pid: 99, workload: Some("api".into()) });
    let local = end([0; 4], 80, 6);
    let mut events = vec![
        exec(),
        event(Kind::Fork, Detail::Fork { child_pid: 5, child_ppid: 4, child_start_ns: 3 }),
        event(Kind::Exit, Detail::Exit { code: None, signal: Some(9) }),
        denied_connect(),
        event(Kind::Bind, Detail::Bind { local }),
        event(Kind::Listen, Detail::Listen { local }),
        limited(),
        event(Kind::Socket, Detail::Socket { family: 17, protocol: 3 }),
        unix(Direction::Client),
        event(Kind::Source, Detail::Source { source: end([192, 0, 2, 7], 5432, 6) }),
        found(held(opener, false), verdict::ALERT),
        event(Kind::Memory, Detail::Memory { pid: 77, start_ns: 9, path: Text::from("/usr/bin/vault") }),
    ];
    let place = placed("/system.slice/cron.service").actor.and_then(|who| who.place);
    for who in events.iter_mut().filter_map(|event| event.actor.as_mut()) {
        who.place.clone_from(&place);
    }
    events
}

prop_compose! {
    fn any_text()(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes),
        Just(b"\"},\n{\"type\":\"finding\"\x1b]0;x\x07\r".to_vec()),
    ]) -> Text {
        Text::new(bytes)
    }
}

prop_compose! {
    fn any_program()(path in any_text(), script in prop::option::of(any_text()),
                     args in prop::collection::vec(any_text(), 0..4), args_truncated in any::<bool>(),
                     notes in prop_oneof![Just(vec![]), Just(vec!["memfd", "deleted"])]) -> Arc<Program> {
        Arc::new(Program { path, script, args, args_truncated, notes })
    }
}

prop_compose! {
    fn any_exe()(ino in any::<u64>(), size in any::<u64>(), ctime_s in any::<i64>(), ctime_ns in any::<u32>(),
                 dev in any::<u32>()) -> ExeId {
        ExeId { ino, size, ctime_s, ctime_ns, dev }
    }
}

prop_compose! {
    fn any_end()(bytes in any::<[u8; 16]>(), port in any::<u16>(), protocol in any::<u8>(), family in any::<u8>())
        -> Endpoint {
        Endpoint { addr: Addr { bytes }, port, protocol, family, zero: 0 }
    }
}

prop_compose! {
    fn any_container()(runtime in prop::sample::select(&[Runtime::Docker, Runtime::Machine, Runtime::Lxc][..]),
                       id in prop_oneof![any_text(), Just(Text::from(&*"0f".repeat(32)))], monitor in any::<bool>())
        -> Container {
        Container { runtime, id, monitor }
    }
}

prop_compose! {
    /// Not only what `Placement::of` reads off a path: rendering relies on nothing that it promises.
    fn any_place()(path in any_text(), names in any::<[Option<String>; 3]>(),
                   container in prop::option::of(any_container()), user in any::<Option<u32>>()) -> Arc<Place> {
        let [unit, pod, user_unit] = names;
        Arc::new(Place { path, placement: Placement { unit, container, pod, user, user_unit } })
    }
}

fn any_name() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

prop_compose! {
    fn any_who()(program in any_program(), exe in any_exe(), comm in any::<[u8; 16]>(), numbers in any::<[u32; 4]>(),
                 start_ns in any::<u64>(), cgroup in any::<u64>(), place in prop::option::of(any_place()),
                 workloads in prop::collection::vec(any_name(), 0..3)) -> Who {
        let [pid, ppid, uid, gid] = numbers;
        let process = Actor { start_ns, cgroup, exe, workloads: WorkloadSet::EMPTY, pid, ppid, uid, gid, comm };
        Who { process, program, place, workloads }
    }
}

prop_compose! {
    fn any_opener()(pid in any::<u32>(), workload in prop::option::of(any_name())) -> Opener {
        Opener { pid, workload }
    }
}

prop_compose! {
    fn any_ancestor()(pid in any::<u32>(), start_ns in any::<u64>(), program in any_program()) -> Ancestor {
        Ancestor { pid, start_ns, program }
    }
}

prop_compose! {
    fn any_tags()(severity in prop::option::of(prop::sample::select(&["low", "critical"][..])),
                  practice in prop::option::of(any_name()), attack in prop::collection::vec(any_name(), 0..3)) -> Arc<Tags> {
        Arc::new(Tags { severity, practice, attack })
    }
}

fn any_repeats() -> impl Strategy<Value = Option<Repeats>> {
    let time = || jiff::Timestamp::UNIX_EPOCH;
    prop::option::of(any::<u64>().prop_map(move |count| Repeats { count, first: time(), last: time() }))
}

prop_compose! {
    fn any_finding()(tags in any_tags(), phase in prop::sample::select(&Phase::ALL[..]), generation in any::<u64>(),
                     ancestry in prop::collection::vec(any_ancestor(), 0..9), repeats in any_repeats(), rule in any::<String>(), rule_kind in prop::sample::select(&RuleKind::ALL[..]), verdict in verdict::ALERT..=verdict::COUNT as u8,
                     mode in prop::sample::select(&Mode::ALL[..]), why in any::<String>()) -> Finding {
        let rule = rule.into();
        Finding { rule, rule_kind, verdict, mode, why, tags, phase, generation, ancestry, repeats }
    }
}

fn any_detail() -> impl Strategy<Value = (Kind, Detail)> {
    prop_oneof![
        (any_exe(), any_program(), prop::option::of(any_exe()), any::<bool>()).prop_map(
            |(file, program, script, mapped)| (Kind::Exec, Detail::Exec { file, program, script, mapped })
        ),
        any::<(u32, u32, u64)>().prop_map(|(child_pid, child_ppid, child_start_ns)| {
            (Kind::Fork, Detail::Fork { child_pid, child_ppid, child_start_ns })
        }),
        any::<(Option<u8>, Option<u8>)>()
            .prop_map(|(code, signal)| (Kind::Exit, Detail::Exit { code, signal })),
        (any_end(), any::<bool>())
            .prop_map(|(remote, datagram)| (Kind::Connect, Detail::Connect { remote, datagram })),
        any_end().prop_map(|local| (Kind::Bind, Detail::Bind { local })),
        any_end().prop_map(|local| (Kind::Listen, Detail::Listen { local })),
        any::<(u16, u16)>()
            .prop_map(|(family, protocol)| (Kind::Socket, Detail::Socket { family, protocol })),
        (prop::sample::select(&Direction::ALL[..]), any_text())
            .prop_map(|(direction, path)| (Kind::Unix, Detail::Unix { direction, path })),
        any_end().prop_map(|source| (Kind::Source, Detail::Source { source })),
        (any::<(u32, u64)>(), any_text())
            .prop_map(|((pid, start_ns), path)| (Kind::Memory, Detail::Memory { pid, start_ns, path })),
        (any_end(), prop::option::of(any_opener()), any::<bool>())
            .prop_map(|(remote, opener, closed)| (Kind::Held, Detail::Held { remote, opener, closed })),
        (any_end(), any::<u32>()).prop_map(|(source, over)| {
            (Kind::Limit, Detail::Limit { source, prefix: 32, cause: None, over, penalty_ns: None })
        }),
    ]
}

prop_compose! {
    /// Anything the kernel, a policy and an attacker could make together.
    pub(crate) fn any_event()(detail in any_detail(), actor in prop::option::of(any_who()),
                              finding in prop::option::of(any_finding()), boot_ns in any::<u64>(),
                              second in -1_000_000_000i64..250_000_000_000, ns in 0..1_000_000_000i32) -> Event {
        let (kind, detail) = detail;
        Event { kind, boot_ns, time: jiff::Timestamp::new(second, ns).unwrap(), actor, detail, finding }
    }
}
