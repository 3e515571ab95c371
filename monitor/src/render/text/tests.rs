use std::sync::Arc;

use monitor_common::{event::Kind, policy::masks::Direction};
use proptest::prelude::*;

use super::{super::samples, line};
use crate::event::{Detail, Event, Program, Text};

fn text(event: &Event, colour: bool) -> String {
    let mut out = Vec::new();
    line(event, colour, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn each_kind_has_its_line() {
    let end = samples::end([10, 0, 0, 1], 80, 17);
    let prefix = "2026-11-23T17:40:32.000Z";
    for (event, expected) in [
        (samples::exec(), "exec    bash[4242] /usr/bin/bash -> /usr/bin/ls -la \"a b\""),
        (
            samples::event(Kind::Fork, Detail::Fork { child_pid: 5, child_ppid: 4, child_start_ns: 3 }),
            "fork    bash[4242] /usr/bin/bash -> pid 5",
        ),
        (
            samples::event(Kind::Exit, Detail::Exit { code: Some(3), signal: None }),
            "exit    bash[4242] /usr/bin/bash exit code 3",
        ),
        (
            samples::event(Kind::Exit, Detail::Exit { code: None, signal: Some(9) }),
            "exit    bash[4242] /usr/bin/bash killed by signal 9",
        ),
        (
            samples::event(Kind::Connect, Detail::Connect { remote: end, datagram: true }),
            "connect bash[4242] /usr/bin/bash -> 10.0.0.1:80/udp",
        ),
        (
            samples::event(Kind::Bind, Detail::Bind { local: end }),
            "bind    bash[4242] /usr/bin/bash on 10.0.0.1:80/udp",
        ),
        (
            samples::event(Kind::Socket, Detail::Socket { family: 17, protocol: 3 }),
            "socket  bash[4242] /usr/bin/bash packet socket, protocol 3",
        ),
        (
            samples::event(
                Kind::Memory,
                Detail::Memory { pid: 7, start_ns: 1, path: Text::from("/bin/x y") },
            ),
            "memory  bash[4242] /usr/bin/bash -> \"/bin/x y\"[7]",
        ),
        (
            samples::unix(Direction::Client),
            "unix    bash[4242] /usr/bin/bash -> /run/postgresql/.s.PGSQL.5432",
        ),
        (
            samples::unix(Direction::Server),
            "unix    bash[4242] /usr/bin/bash on /run/postgresql/.s.PGSQL.5432",
        ),
        (
            samples::event(Kind::Source, Detail::Source { source: samples::end([192, 0, 2, 7], 5432, 6) }),
            "source  192.0.2.7 -> port 5432/tcp",
        ),
        (samples::held(None, true), "held    bash[4242] /usr/bin/bash has 10.0.0.1:5432/tcp"),
        (
            samples::denied_connect(),
            "connect DENY orders: only api may connect | bash[4242] /usr/bin/bash -> 10.0.0.1:5432/tcp",
        ),
        (
            samples::limited(),
            "limit   would drop https: only api may connect | 2001:db8:0:9::/64 -> port 443/tcp, 17 over (connections), dropped for 60 s",
        ),
    ] {
        assert_eq!(text(&event, false), format!("{prefix} {expected}\n"));
    }
}

#[test]
fn where_a_process_belongs_stands_behind_its_program() {
    let id = "0123456789abcdef".repeat(4);
    for (path, expected) in [
        ("/".to_owned(), ""),
        ("/some/group".to_owned(), ""),
        ("/system.slice/api.service/inner".to_owned(), " in api.service"),
        (format!("/system.slice/docker-{id}.scope"), " in docker:0123456789ab"),
        (format!("/docker/{id}"), " in docker:0123456789ab"),
        ("/lxc.payload.web-frontend-production".to_owned(), " in lxc:web-frontend-production"),
        ("/lxc.payload.a | \n\"b".to_owned(), r#" in "lxc:a | \n\"b""#),
        // Not inside, but beside it.
        (
            format!("/machine.slice/conmon-{}.scope", "a".repeat(64)),
            " in conmon-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.scope",
        ),
        // The word of a unit and of a user.
        (format!("/system.slice/api.service/docker-{id}"), " in api.service/docker:0123456789ab"),
        (
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"),
            " in user@1000.service/podman:0123456789ab",
        ),
    ] {
        let line = text(&samples::placed(&path), false);
        let expected = format!("exit    bash[4242] /usr/bin/bash{expected} exit code 0\n");
        assert!(line.ends_with(&expected), "{path}: {line}");
    }
}

#[test]
fn an_exec_tells_what_is_special_of_its_file() {
    let mut event = samples::exec();
    let program = Program {
        script: Some("/tmp/x y.sh".into()),
        args_truncated: true,
        notes: vec!["memfd", "deleted"],
        ..samples::program("", &["sh", ""])
    };
    event.detail =
        Detail::Exec { file: samples::exe(1), program: Arc::new(program), script: None, mapped: false };
    let line = text(&event, false);
    assert!(line.ends_with(" -> ? (memfd, deleted) script \"/tmp/x y.sh\" \"\" ...\n"), "{line}");
}

#[test]
fn colours_only_when_asked() {
    let coloured = text(&samples::denied_connect(), true);
    assert!(coloured.contains("\x1b[1m\x1b[31mDENY\x1b[0m"), "{coloured:?}");
    assert!(!text(&samples::denied_connect(), false).contains('\x1b'));
}

#[test]
fn others_cannot_look_like_the_agent() {
    let mut event = samples::exec();
    let program = Program {
        args: vec![
            "x".into(),
            Text::new(&b"\n2026-11-23T17:40:32.000Z exec    DENY \x1b[31mrule: | \xff"[..]),
        ],
        ..Program::default()
    };
    event.detail =
        Detail::Exec { file: samples::exe(1), program: program.into(), script: None, mapped: false };
    let line = text(&event, false);
    assert!(
        line.ends_with("\"\\n2026-11-23T17:40:32.000Z exec    DENY \\u{1b}[31mrule: | \\xff\"\n"),
        "{line}"
    );
}

proptest! {
    #[test]
    fn any_event_is_one_line_of_plain_text(event in samples::any_event()) {
        let line = text(&event, false);
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        prop_assert!(!line[..line.len() - 1].chars().any(char::is_control), "{:?}", line);
    }

    #[test]
    fn colours_are_the_only_difference(event in samples::any_event()) {
        let coloured = text(&event, true);
        let mut plain = String::new();
        for (index, part) in coloured.split('\x1b').enumerate() {
            plain.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        prop_assert_eq!(plain, text(&event, false));
    }
}
