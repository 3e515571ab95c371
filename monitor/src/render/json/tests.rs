use monitor_common::{event::Kind, identity::ExeId, policy::masks::Direction};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::samples, line};
use crate::event::{Ancestor, Detail, Event, Opener, Program, Repeats, Tags, Text};

/// This machine's name, from another source than the one that is tested.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim_end().to_owned()
}

fn parsed(event: &Event) -> Value {
    let mut out = Vec::new();
    line(event, &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_exec_tells_the_new_program_and_by_whom() {
    let exe = |path: &str, ino: u64| json!({"path": path, "dev": "253:1", "ino": ino, "ctime": "2023-11-14T22:13:20.000000005Z", "size": 4096});
    let expected = json!({
        "type": "event", "version": 1, "host": host(), "kind": "exec", "time": "2026-11-23T17:40:32.000000001Z", "boot_ns": 123_456_789,
        "pid": 4242, "ppid": 1, "start_ns": 7, "uid": 1000, "gid": 100, "cgroup": 42, "comm": "bash", "workloads": [],
        "exe": exe("/usr/bin/ls", 12), "args": ["ls", "-la", "a b"], "args_truncated": false,
        "by": exe("/usr/bin/bash", 11),
    });
    assert_eq!(parsed(&samples::exec()), expected);
}

#[test]
fn a_connect_finding_has_the_rule_and_all_of_the_event() {
    let value = parsed(&samples::denied_connect());
    let expected = json!({
        "type": "finding", "rule": "orders", "rule_kind": "database", "verdict": "deny", "mode": "enforce",
        "why": "only api may connect", "kind": "connect", "addr": "10.0.0.1", "port": 5432, "family": "ipv4",
        "protocol": "tcp", "datagram": false, "comm": "bash", "args": ["bash", "-i"],
    });
    for (key, expected) in expected.as_object().unwrap() {
        assert_eq!(&value[key], expected, "{key}");
    }
    assert_eq!(value["exe"]["path"], "/usr/bin/bash");
    assert!(value.get("by").is_none());
}

#[test]
fn a_rate_limit_finding_has_a_source_and_no_process() {
    let expected = json!({
        "type": "finding", "version": 1, "host": host(), "phase": "before", "generation": 3, "count": 1,
        "subject": "2001:db8:0:9::/64", "object": "port 443", "rule": "https", "rule_kind": "rate_limit", "verdict": "drop", "mode": "observe",
        "why": "only api may connect", "kind": "limit", "time": "2026-11-23T17:40:32.000000001Z",
        "boot_ns": 123_456_789, "source": "2001:db8:0:9::", "source_prefix": 64, "port": 443, "protocol": "tcp",
        "dropped": 17, "cause": "connections", "penalty_seconds": 60,
    });
    assert_eq!(parsed(&samples::limited()), expected);
}

#[test]
fn a_finding_bears_what_its_rule_says_and_its_ancestry() {
    let mut event = samples::denied_connect();
    let finding = event.finding.as_mut().unwrap();
    let attack = vec!["T1059.004".into()];
    finding.tags = Tags { severity: Some("high"), practice: Some("database".into()), attack }.into();
    let parent = samples::program("/usr/sbin/nginx", &["nginx", "-g"]).into();
    finding.ancestry = vec![
        Ancestor { pid: 7, start_ns: 8, program: parent },
        Ancestor { pid: 1, start_ns: 0, program: Program::default().into() },
    ];
    let first = "2026-11-23T17:40:31Z".parse().unwrap();
    finding.repeats = Some(Repeats { count: 12, first, last: event.time });
    let ancestry = json!([
        {"pid": 7, "start_ns": 8, "exe": "/usr/sbin/nginx", "args": ["nginx", "-g"]},
        {"pid": 1, "start_ns": 0, "exe": null, "args": []},
    ]);
    assert_fields(
        &event,
        &json!({
            "severity": "high", "practice": "database", "attack": ["T1059.004"], "phase": "before", "generation": 3,
            "subject": "/usr/bin/bash", "object": "10.0.0.1:5432", "ancestry": ancestry, "count": 12,
            "first": "2026-11-23T17:40:31.000000000Z", "last": "2026-11-23T17:40:32.000000001Z",
        }),
    );
}

#[test]
fn the_other_kinds_have_their_fields() {
    let fork = samples::event(Kind::Fork, Detail::Fork { child_pid: 5, child_ppid: 4, child_start_ns: 3 });
    let value = parsed(&fork);
    assert_eq!(
        (&value["child_pid"], &value["child_ppid"], &value["child_start_ns"]),
        (&json!(5), &json!(4), &json!(3))
    );
    let value = parsed(&samples::event(Kind::Exit, Detail::Exit { code: None, signal: Some(9) }));
    assert_eq!((&value["exit_code"], &value["signal"]), (&Value::Null, &json!(9)));
    let value = parsed(&samples::event(Kind::Listen, Detail::Listen { local: samples::end([0; 4], 80, 6) }));
    assert_eq!(
        (&value["addr"], &value["port"], &value["kind"]),
        (&json!("0.0.0.0"), &json!(80), &json!("listen"))
    );
}

fn assert_fields(event: &Event, expected: &Value) {
    let value = parsed(event);
    for (key, expected) in expected.as_object().unwrap() {
        assert_eq!(value.get(key), Some(expected), "{key} in {value}");
    }
}

#[test]
fn kinds_about_databases_and_sockets_have_their_fields() {
    let remote = json!({"addr": "10.0.0.1", "port": 5432, "family": "ipv4", "protocol": "tcp"});
    let held = |opener: Option<Opener>, closed: bool, more: Value| {
        let event = samples::held(opener, closed);
        assert_fields(&event, &remote);
        assert_fields(&event, &more);
    };
    held(
        None,
        true,
        json!({"kind": "held", "origin": "existing", "opener_pid": null, "opener_workload": null, "closed": true}),
    );
    held(
        Some(Opener { pid: 7, workload: Some("api".into()) }),
        false,
        json!({"origin": "handover", "opener_pid": 7, "opener_workload": "api", "closed": false, "comm": "bash"}),
    );
    held(
        Some(Opener { pid: 7, workload: None }),
        false,
        json!({"origin": "handover", "opener_pid": 7, "opener_workload": null}),
    );
    for direction in [Direction::Client, Direction::Server] {
        let expected = json!({
            "kind": "unix", "direction": direction.name(), "socket": "/run/postgresql/.s.PGSQL.5432", "pid": 4242,
        });
        assert_fields(&samples::unix(direction), &expected);
    }
    for (family, name, protocol) in [(2, "ipv4", 1), (10, "ipv6", 58), (17, "packet", 0x0800)] {
        let event = samples::event(Kind::Socket, Detail::Socket { family, protocol });
        assert_fields(
            &event,
            &json!({"kind": "socket", "family": name, "protocol_number": protocol, "pid": 4242}),
        );
    }
    let source = Detail::Source { source: samples::end([192, 0, 2, 7], 5432, 6) };
    let expected = json!({
        "type": "event", "version": 1, "host": host(), "kind": "source", "time": "2026-11-23T17:40:32.000000001Z", "boot_ns": 123_456_789,
        "source": "192.0.2.7", "port": 5432, "protocol": "tcp",
    });
    assert_eq!(parsed(&samples::event(Kind::Source, source)), expected);
}

#[test]
fn where_a_process_belongs_is_told_as_far_as_its_group_says() {
    let keys = ["cgroup_path", "unit", "container", "pod", "owner_uid", "user_unit"];
    let id = "0123456789abcdef".repeat(4);
    let cases = [
        ("/".to_owned(), json!({"cgroup_path": "/"})),
        (
            "/system.slice/api.service".to_owned(),
            json!({"cgroup_path": "/system.slice/api.service", "unit": "api.service"}),
        ),
        (format!("/docker/{id}"), json!({"container": {"runtime": "docker", "id": id}})),
        (
            format!("/kubepods/burstable/pod1b-2c/{id}"),
            json!({"pod": "1b-2c", "container": {"runtime": "kubernetes", "id": id}}),
        ),
        (
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            json!({
                "unit": format!("libpod-conmon-{id}.scope"),
                "container": {"runtime": "podman", "id": id, "monitor": true},
            }),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/tool.service".to_owned(),
            json!({"unit": "user@1000.service", "owner_uid": 1000, "user_unit": "tool.service"}),
        ),
        ("/a\n\u{1b}".to_owned(), json!({"cgroup_path": "/a\\n\\u{1b}"})),
    ];
    for (path, mut expected) in cases {
        let value = parsed(&samples::placed(&path));
        if expected.get("cgroup_path").is_none() {
            expected["cgroup_path"] = json!(path);
        }
        for key in keys {
            assert_eq!(value.get(key), expected.get(key), "{key} of {path}");
        }
        assert_eq!(value["workloads"], json!(["api", "shells"]));
    }
    let unknown = parsed(&samples::exec());
    assert!(keys.iter().all(|key| unknown.get(key).is_none()), "{unknown}");
}

#[test]
fn what_is_not_known_is_null() {
    let mut event = samples::exec();
    event.detail =
        Detail::Exec { file: ExeId::NONE, program: Program::default().into(), script: None, mapped: false };
    let nothing = json!({"path": null, "dev": null, "ino": null, "ctime": null, "size": null});
    assert_eq!(parsed(&event)["exe"], nothing);
}

#[test]
fn hostile_text_stays_in_its_string() {
    let mut event = samples::exec();
    let program = Program {
        path: Text::new(&b"/tmp/\"}\n{\"type\":\"finding\"\xff\x1b[2J"[..]),
        notes: vec!["memfd"],
        ..Program::default()
    };
    event.detail =
        Detail::Exec { file: samples::exe(1), program: program.into(), script: None, mapped: false };
    let mut out = Vec::new();
    line(&event, &mut out);
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["type"], "event");
    assert_eq!(value["exe"]["path"], "/tmp/\"}\\n{\"type\":\"finding\"\\xff\\u{1b}[2J");
    assert_eq!(value["exe"]["notes"], json!(["memfd"]));
}

fn no_control_characters(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.chars().any(char::is_control),
        Value::Array(values) => values.iter().all(no_control_characters),
        Value::Object(fields) => fields.values().all(no_control_characters),
        _ => true,
    }
}

proptest! {
    #[test]
    fn any_event_is_one_object_on_one_line(event in samples::any_event()) {
        let mut out = b"before\n".to_vec();
        line(&event, &mut out);
        let text = std::str::from_utf8(&out[7..]).unwrap();
        prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
        let value: Value = serde_json::from_str(text).unwrap();
        prop_assert!(no_control_characters(&value));
        prop_assert_eq!(&value["kind"], event.kind.name());
        prop_assert_eq!(value["type"] == "finding", event.finding.is_some());
        prop_assert_eq!(value.get("pid").is_some(), event.actor.is_some());
        let mut keys = serde_json::from_str::<Keys>(text).unwrap().0;
        keys.sort();
        prop_assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "twice in {:?}", keys);
    }
}

/// The keys of an object as they stand there; a map would hide one that is there twice.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
