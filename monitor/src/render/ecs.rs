//! An event or finding as one object of the Elastic Common Schema on a line.
//!
//! What the schema has no field for (workloads, mode, phase, generation) is below `monitor`, a name of our own.

use monitor_common::{
    event::{Endpoint, Kind},
    identity::ExeId,
    policy::{Mode, verdict},
};
use serde_json::{Map, Value, json};

use super::{host, protocol_name, sentence};
use crate::event::{Detail, Event, Finding, Program, Text, Who};

/// Version of the Elastic Common Schema that is written.
const ECS: &str = "8.17.0";

/// Appends the object and a newline.
pub fn line(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(object(event).to_string().as_bytes());
    out.push(b'\n');
}

/// The object.
#[must_use]
pub fn object(event: &Event) -> Value {
    let mut root = json!({
        "@timestamp": format!("{:.9}", event.time),
        "ecs": { "version": ECS },
        "host": { "name": host(), "hostname": host() },
        "event": {
            "kind": if event.finding.is_some() { "alert" } else { "event" },
            "category": [category(event.kind)],
            "type": types(event),
            "action": event.kind.name(),
            "module": "monitor",
            "dataset": if event.finding.is_some() { "monitor.finding" } else { "monitor.event" },
        },
        "monitor": { "boot_ns": event.boot_ns },
    });
    if let Some(finding) = &event.finding {
        add_finding(&mut root, finding);
    }
    if let Some(who) = &event.actor {
        add_process(&mut root, event, who);
    }
    add_object(&mut root, event);
    root
}

/// `event.category`, from the schema's closed list.
fn category(kind: Kind) -> &'static str {
    match kind {
        Kind::Exec | Kind::Fork | Kind::Exit | Kind::Memory => "process",
        _ => "network",
    }
}

/// `event.type`, from the schema's closed list.
fn types(event: &Event) -> Vec<&'static str> {
    let what = match event.kind {
        Kind::Exec | Kind::Fork => "start",
        Kind::Exit => "end",
        Kind::Connect | Kind::Unix | Kind::Source | Kind::Limit | Kind::Held => "connection",
        Kind::Bind | Kind::Listen | Kind::Socket => "info",
        Kind::Memory => "access",
    };
    match &event.finding {
        Some(finding) if stopped(finding) => vec![what, "denied"],
        Some(_) => vec![what, "allowed"],
        None => vec![what],
    }
}

/// Whether what happened was refused or ended.
fn stopped(finding: &Finding) -> bool {
    finding.mode == Mode::Enforce && finding.verdict > verdict::ALERT
}

fn add_finding(root: &mut Value, finding: &Finding) {
    let why = sentence(&finding.why);
    let rule = sentence(&finding.rule);
    root["message"] = json!(why);
    root["rule"] = json!({ "name": rule, "category": finding.rule_kind.name(), "version": finding.generation.to_string() });
    root["event"]["reason"] = json!(why);
    // The schema's outcome is that of the act: what was refused failed.
    root["event"]["outcome"] = json!(if stopped(finding) { "failure" } else { "success" });
    if let Some(severity) = finding.tags.severity {
        root["event"]["severity"] = json!(number(severity));
        root["log"] = json!({ "level": severity });
    }
    if !finding.tags.attack.is_empty() {
        let ids: Vec<_> = finding.tags.attack.iter().map(|id| sentence(id)).collect();
        root["threat"] = json!({ "framework": "MITRE ATT&CK", "technique": { "id": ids } });
    }
    if let Some(repeats) = finding.repeats {
        root["event"]["start"] = json!(format!("{:.9}", repeats.first));
        root["event"]["end"] = json!(format!("{:.9}", repeats.last));
    }
    let own = &mut root["monitor"];
    own["verdict"] = json!(verdict::name(finding.verdict));
    own["mode"] = json!(finding.mode.name());
    own["phase"] = json!(finding.phase.name());
    own["generation"] = json!(finding.generation);
    own["count"] = json!(finding.count());
    if let Some(practice) = &finding.tags.practice {
        own["practice"] = json!(sentence(practice));
    }
}

/// A severity on a scale to 100: what Elastic's own rules use.
fn number(severity: &str) -> u32 {
    match severity {
        "info" => 10,
        "low" => 21,
        "medium" => 47,
        "high" => 73,
        _ => 99,
    }
}

fn add_process(root: &mut Value, event: &Event, who: &Who) {
    let process = &who.process;
    let mut told = match &event.detail {
        Detail::Exec { file, program, .. } => program_of(file, program),
        _ => program_of(&process.exe, &who.program),
    };
    told.insert("pid".into(), json!(process.pid));
    told.insert("thread".into(), json!({ "name": Text::from_padded(&process.comm) }));
    let mut parent = Map::from_iter([("pid".to_owned(), json!(process.ppid))]);
    let ancestry = event.finding.as_ref().map_or(&[][..], |finding| &finding.ancestry);
    if let Some(known) = ancestry.first() {
        parent.extend(program_of(&ExeId::NONE, &known.program));
    }
    told.insert("parent".into(), Value::Object(parent));
    root["process"] = Value::Object(told);
    root["user"] = json!({ "id": process.uid.to_string(), "group": { "id": process.gid.to_string() } });
    root["monitor"]["workloads"] = json!(who.workloads.iter().map(|name| sentence(name)).collect::<Vec<_>>());
    if !ancestry.is_empty() {
        let one =
            |known: &crate::event::Ancestor| json!({ "pid": known.pid, "executable": known.program.path });
        root["monitor"]["ancestry"] = ancestry.iter().map(one).collect();
    }
    let Some(place) = &who.place else { return };
    root["monitor"]["cgroup"] = json!(place.path);
    if let Some(unit) = &place.placement.unit {
        root["service"] = json!({ "name": Text::from(&**unit) });
    }
    if let Some(container) = &place.placement.container {
        root["container"] = json!({ "id": container.id, "runtime": container.runtime.name() });
    }
}

fn program_of(file: &ExeId, program: &Program) -> Map<String, Value> {
    let mut told = Map::new();
    if !program.path.is_empty() {
        let name = program.path.bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        told.insert("executable".into(), json!(program.path));
        told.insert("name".into(), json!(Text::new(name)));
    }
    if !program.args.is_empty() {
        told.insert("args".into(), json!(program.args));
        told.insert("args_count".into(), json!(program.args.len()));
    }
    if !file.same(&ExeId::NONE) {
        told.insert("inode".into(), json!(file.ino.to_string()));
    }
    told
}

fn add_object(root: &mut Value, event: &Event) {
    match &event.detail {
        Detail::Connect { remote: end, .. } | Detail::Held { remote: end, .. } => {
            add_end(root, "destination", end)
        }
        Detail::Bind { local: end } | Detail::Listen { local: end } => add_end(root, "server", end),
        Detail::Source { source } | Detail::Limit { source, .. } => {
            add_end(root, "source", source);
            // The port is the one that was asked for here.
            root["destination"] = json!({ "port": source.port });
            if let Some(ends) = root["source"].as_object_mut() {
                ends.remove("port");
            }
        }
        Detail::Unix { path, .. } => root["file"] = json!({ "path": path, "type": "socket" }),
        Detail::Exit { code: Some(code), .. } => root["process"]["exit_code"] = json!(code),
        Detail::Fork { child_pid, .. } => root["monitor"]["child_pid"] = json!(child_pid),
        Detail::Memory { pid, path, .. } => {
            root["monitor"]["target_pid"] = json!(pid);
            root["file"] = json!({ "path": path });
        }
        Detail::Exec { .. } | Detail::Exit { .. } | Detail::Socket { .. } => {}
    }
}

fn add_end(root: &mut Value, role: &str, end: &Endpoint) {
    let family = if end.family == 4 { "ipv4" } else { "ipv6" };
    root[role] = json!({ "ip": end.addr, "address": end.addr, "port": end.port });
    root["network"] = json!({ "transport": protocol_name(end.protocol), "type": family });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::samples;

    #[test]
    fn a_finding_is_an_alert_with_its_rule_and_both_ends() {
        let value = object(&samples::denied_connect());
        let expected = [
            ("/event/kind", json!("alert")),
            ("/event/category", json!(["network"])),
            ("/event/type", json!(["connection", "denied"])),
            ("/event/outcome", json!("failure")),
            ("/rule/name", json!("orders")),
            ("/destination/ip", json!("10.0.0.1")),
            ("/destination/port", json!(5432)),
            ("/network/transport", json!("tcp")),
            ("/process/executable", json!("/usr/bin/bash")),
            ("/process/name", json!("bash")),
            ("/user/id", json!("1000")),
            ("/monitor/mode", json!("enforce")),
        ];
        for (path, expected) in expected {
            assert_eq!(value.pointer(path), Some(&expected), "{path} of {value}");
        }
    }

    #[test]
    fn what_a_limit_dropped_has_a_source_and_the_port_it_asked_for() {
        let value = object(&samples::limited());
        assert_eq!(value["source"], json!({ "ip": "2001:db8:0:9::", "address": "2001:db8:0:9::" }));
        assert_eq!(value["destination"], json!({ "port": 443 }));
        assert_eq!(value["event"]["outcome"], "success", "it was only observed");
    }

    proptest! {
        #[test]
        fn any_event_is_one_object_on_one_line(event in samples::any_event()) {
            let mut out = Vec::new();
            line(&event, &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
            let value: Value = serde_json::from_str(text).unwrap();
            prop_assert_eq!(&value["event"]["action"], event.kind.name());
            prop_assert!(!text.trim_end().chars().any(char::is_control));
        }
    }
}
