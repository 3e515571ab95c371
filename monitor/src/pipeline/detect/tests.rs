use std::{path::Path, sync::Arc};

use monitor_common::{
    event::{Header, Kind},
    policy::{Mode, NO_RULE, masks::Direction, verdict},
};

use super::finding;
use crate::{
    config::Loaded,
    event::{Detail, Event, Finding, Opener, Program, Who},
    policy::Names,
    render::samples,
};

const POLICY: &str = r#"
[[workload]]
name = "api"
exe = ["/usr/bin/api"]

[[exec]]
name = "no shells"
by = ["api"]
deny = ["/bin/sh"]

[[database]]
name = "orders"
engine = "postgres"
ports = [5432]
clients = ["api"]

[[rate_limit]]
name = "https"
ports = [443]
protocol = "tcp"
packets = "10/s"

[raw_sockets]
allow = ["api"]
"#;

fn judged(event: &Event, rule: u16, code: u8, mode: Mode) -> Option<Finding> {
    let config = Loaded::from_text(Path::new("test.toml"), POLICY).config.unwrap();
    let header =
        Header { time_ns: 0, kind: event.kind as u16, rule, verdict: code, mode: mode as u8, flags: 0 };
    finding(&header, event, &Names::new(&config))
}

fn why(event: &Event, code: u8, mode: Mode) -> String {
    judged(event, 0, code, mode).unwrap().why
}

fn of_workloads(event: Event, names: &[&str]) -> Event {
    let workloads = names.iter().map(|name| Arc::from(*name)).collect();
    Event { actor: Some(Who { workloads, ..samples::who() }), ..event }
}

/// What was done, by what the rule says and its mode: `[alert, observed, enforced]`.
const REFUSED: [&str; 3] = ["reported only", "would have been refused", "refused"];
const REFUSED_TO_RUN: [&str; 3] = ["reported only", "would have been refused", "refused before it ran"];
const DROPPED: [&str; 3] = ["reported only", "would have been dropped", "dropped"];
const KILLED: [&str; 3] = ["reported only", "would have been killed", "killed before its first instruction"];

#[test]
fn every_kind_says_who_did_what_and_what_became_of_it() {
    use verdict::{DENY, DROP, KILL};
    let end = samples::end([10, 0, 0, 1], 5432, 6);
    let socket = |family| samples::event(Kind::Socket, Detail::Socket { family, protocol: 1 });
    for (event, rule, code, what, consequences) in [
        (
            samples::exec(),
            "no shells",
            DENY,
            "a process of no workload started \"/usr/bin/ls\"",
            REFUSED_TO_RUN,
        ),
        (
            of_workloads(samples::exec(), &["api", "web"]),
            "no shells",
            KILL,
            "workload api, web started \"/usr/bin/ls\"",
            KILLED,
        ),
        (
            of_workloads(
                samples::event(Kind::Connect, Detail::Connect { remote: end, datagram: false }),
                &["web"],
            ),
            "orders",
            DENY,
            "workload web, not a client of this database, asked for 10.0.0.1 port 5432",
            REFUSED,
        ),
        (
            samples::event(Kind::Bind, Detail::Bind { local: end }),
            "orders",
            DENY,
            "a process of no workload, not a server of this database, asked for 10.0.0.1 port 5432 of this host",
            REFUSED,
        ),
        (
            samples::unix(Direction::Client),
            "orders",
            DENY,
            "a process of no workload, not a client of this database, asked for the socket \
             \"/run/postgresql/.s.PGSQL.5432\"",
            REFUSED,
        ),
        (
            samples::unix(Direction::Server),
            "orders",
            DENY,
            "a process of no workload, not a server of this database, wanted to be the socket \
             \"/run/postgresql/.s.PGSQL.5432\"",
            REFUSED,
        ),
        (
            samples::event(Kind::Source, Detail::Source { source: end }),
            "orders",
            DROP,
            "10.0.0.1, not a source of this database, sent to port 5432",
            DROPPED,
        ),
        (
            samples::event(Kind::Limit, samples::limited_detail(end)),
            "https",
            DROP,
            "10.0.0.1/64 is over its rate at port 5432: too many new connections (packets over it since it was last \
             within: 17); dropped for the next 60 s",
            DROPPED,
        ),
        (
            socket(17),
            "raw_sockets",
            DENY,
            "a process of no workload, not on the list, asked for a packet socket",
            REFUSED,
        ),
        (
            of_workloads(socket(10), &["web"]),
            "raw_sockets",
            DENY,
            "workload web, not on the list, asked for a raw socket",
            REFUSED,
        ),
    ] {
        let cases = [(verdict::ALERT, Mode::Enforce), (code, Mode::Observe), (code, Mode::Enforce)];
        for ((code, mode), consequence) in cases.into_iter().zip(consequences) {
            let found = judged(&event, 0, code, mode).unwrap();
            assert_eq!((&*found.rule, found.verdict, found.mode), (rule, code, mode));
            assert_eq!(found.why, format!("{what}; {consequence}"));
        }
    }
}

/// The kernel can't refuse to listen, so it never says so.
#[test]
fn who_listens_unjudged_is_reported() {
    let listen = samples::event(Kind::Listen, Detail::Listen { local: samples::end([0; 4], 5432, 6) });
    assert_eq!(
        why(&listen, verdict::ALERT, Mode::Enforce),
        "a process of no workload, not a server of this database, listens at 0.0.0.0 port 5432 without having been \
         judged at its bind; reported only"
    );
}

#[test]
fn a_held_connection_says_where_it_is_from_and_whether_it_was_closed() {
    use verdict::{ALERT, DENY};
    let opened_by = |workload: Option<&str>| Some(Opener { pid: 7, workload: workload.map(Arc::from) });
    let by_api = "that process 7 of workload api opened and handed over";
    let by_nobody = "that process 7 of no workload opened and handed over";
    let older = "that is older than the policy";
    for (opener, closed, code, mode, origin, consequence) in [
        (None, false, ALERT, Mode::Enforce, older, "reported only"),
        (None, false, DENY, Mode::Observe, older, "would have been closed"),
        (None, true, DENY, Mode::Enforce, older, "closed"),
        // Not closed is not closed, whatever the verdict was.
        (None, false, DENY, Mode::Enforce, older, "reported only"),
        (opened_by(Some("api")), false, ALERT, Mode::Enforce, by_api, "reported only"),
        (opened_by(None), false, ALERT, Mode::Observe, by_nobody, "reported only"),
    ] {
        let event = of_workloads(samples::held(opener, closed), &["web"]);
        let what = "workload web, not a client of this database, has a connection to 10.0.0.1 port 5432";
        assert_eq!(why(&event, code, mode), format!("{what} {origin}; {consequence}"));
    }
}

#[test]
fn what_is_special_of_a_file_is_told() {
    let started = |path: &str, notes: &[&'static str], mapped: bool| {
        let program = Arc::new(Program { notes: notes.to_vec(), ..samples::program(path, &[]) });
        samples::event(Kind::Exec, Detail::Exec { file: samples::exe(1), program, script: None, mapped })
    };
    for (event, expected) in [
        (started("memfd:x", &["memfd"], false), "started \"memfd:x\" (a file in memory only)"),
        (started("/tmp/\"x\n", &["deleted"], false), r#"started "/tmp/\"x\n" (a file without a name)"#),
        (started("/bin/sh", &["no_args", "mapped"], true), "had the dynamic loader run \"/bin/sh\""),
        (
            started("/lib/ld.so", &["loader", "unverified"], false),
            "started \"/lib/ld.so\" (the dynamic loader: the program is what it maps) (whose content isn't the one that \
             the policy gives)",
        ),
    ] {
        assert_eq!(
            why(&event, verdict::DENY, Mode::Enforce),
            format!("a process of no workload {expected}; refused before it ran")
        );
    }
}

#[test]
fn what_no_rule_decided_is_no_finding() {
    let exec = samples::exec();
    for (rule, code) in [
        (NO_RULE, verdict::DENY),
        (0, verdict::ALLOW),
        (0, verdict::NONE),
        // Of a rule that the policy doesn't have.
        (9, verdict::DENY),
    ] {
        assert!(judged(&exec, rule, code, Mode::Enforce).is_none(), "{rule} {code}");
    }
    let exit = samples::event(Kind::Exit, Detail::Exit { code: Some(0), signal: None });
    assert!(judged(&exit, 0, verdict::DENY, Mode::Enforce).is_none());
}
