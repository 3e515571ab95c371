//! Random policies, and requests that are likely to concern them.

use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// A policy.
pub struct Policy {
    pub text: String,
    pub workloads: Vec<String>,
}

const FILES: &[&str] =
    &["/srv/a", "/srv/b", "/srv/bin/c", "/srv/bin/d", "/opt/x/run", "/usr/bin/env", "/bin/sh", "/etc/passwd"];
const PATTERNS: &[&str] = &[
    "/srv/a",
    "/srv/bin/c",
    "/srv/*",
    "/srv/**",
    "/srv/bin/[!d]",
    "/{opt,srv}/*/run",
    "/bin/*sh",
    "/usr/bin/",
    "/**/run",
];
const CLASSES: &[&str] = &["@memfd", "@deleted", "@unplaced"];
const USERS: &[&str] = &["0", "1000", "root", "nosuchuser", "4000000000"];
const UNITS: &[&str] = &["api.service", "web@*.service", "[a-c]*.service", "x.slice"];
const CGROUPS: &[&str] = &["/a", "/a/b", "/a/*", "/**/z", "/system.slice", "/"];
const PLACES: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/a/b/c/d",
    "/ab",
    "/q/r/z/y",
    "/system.slice/api.service",
    "/x.slice/web@1.service/sub",
    "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/z",
];
const PREFIXES: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.0/16",
    "127.0.0.1",
    "0.0.0.0/0",
    "fd00::/8",
    "fd00:1::/32",
    "::/0",
    "::1",
    "192.168.0.0/24",
];
const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "10.1.2.3",
    "127.0.0.1",
    "0.0.0.0",
    "::",
    "::1",
    "fd00::1",
    "fd00:1::1",
    "2001:db8::1",
    "::ffff:10.1.2.3",
    "192.168.0.9",
    "192.168.1.9",
];
const ASKED_PORTS: &[u16] = &[5432, 5432, 5432, 5432, 6000, 6003, 6379, 5440, 1, 9];
const SOCKETS: &[&str] = &["/run/db/s", "/run/*/s", "/var/run/**"];
const ASKED_SOCKETS: &[&str] = &["/run/db/s", "/run/x/s", "/var/run/a/b", "/tmp/s"];
const WORDS: &[&str] = &["--dump", "-c", "select 1", "--file=/etc/x", "größe", ""];

fn one<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    random.choice(of).copied().unwrap_or_default()
}

fn chance(random: &mut Rng, percent: u8) -> bool {
    random.u8(0..100) < percent
}

/// Some of a list, at least `least`, each once.
fn some(random: &mut Rng, of: &[&str], least: usize, most: usize) -> Vec<String> {
    let count = random.usize(least..=most.min(of.len()).max(least));
    let mut of: Vec<String> = of.iter().map(|text| (*text).to_owned()).collect();
    random.shuffle(&mut of);
    of.truncate(count);
    of
}

fn references(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// A policy with up to a dozen workloads.
pub fn policy(random: &mut Rng) -> Policy {
    let mut text = format!("mode = \"{}\"\n", one(random, &["enforce", "observe"]));
    if chance(random, 10) {
        let _ = writeln!(text, "[agent]\ncgroup = \"{}\"", one(random, &["/a", "/a/b", "/system.slice"]));
    }
    let mut workloads = Vec::new();
    for number in 0..random.usize(2..12) {
        let name = format!("w{number}");
        workload(random, &mut text, &name, &workloads);
        workloads.push(name);
    }
    for number in 0..random.usize(2..7) {
        database(random, &mut text, number, &workloads);
    }
    for number in 0..random.usize(0..4) {
        listen(random, &mut text, number, &workloads);
    }
    for number in 0..random.usize(1..8) {
        exec(random, &mut text, number, &workloads);
    }
    if chance(random, 70) {
        let allow = some(random, &references(&workloads), 0, 8);
        let _ = writeln!(
            text,
            "[raw_sockets]\nallow = {allow:?}\naction = \"{}\"",
            one(random, &["alert", "deny"])
        );
    }
    Policy { text, workloads }
}

fn workload(random: &mut Rng, text: &mut String, name: &str, before: &[String]) {
    let _ = writeln!(text, "[[workload]]\nname = {name:?}");
    let mut given = false;
    let dimensions: [(&str, &[&str], u8); 5] = [
        ("exe", PATTERNS, 55),
        ("user", USERS, 25),
        ("group", USERS, 15),
        ("unit", UNITS, 12),
        ("cgroup", CGROUPS, 15),
    ];
    for (key, values, percent) in dimensions {
        if chance(random, percent) {
            let _ = writeln!(text, "{key} = {:?}", some(random, values, 1, 3));
            given = true;
        }
    }
    for (key, percent) in [("parent", 10), ("ancestor", 15)] {
        if !before.is_empty() && chance(random, percent) {
            let _ = writeln!(text, "{key} = {:?}", some(random, &references(before), 1, 2));
            given = true;
        }
    }
    if !given {
        let _ = writeln!(text, "user = {:?}", some(random, USERS, 1, 2));
    }
    if chance(random, 15) {
        text.push_str("descendants = true\n");
    }
}

fn mode(random: &mut Rng, text: &mut String) {
    if chance(random, 30) {
        let _ = writeln!(text, "mode = \"{}\"", one(random, &["enforce", "observe"]));
    }
}

fn database(random: &mut Rng, text: &mut String, number: usize, workloads: &[String]) {
    let _ = writeln!(text, "[[database]]\nname = \"d{number}\"");
    let with_ports = chance(random, 85);
    if with_ports {
        // Ranges of one list may not overlap.
        let ports = [&["5432"][..], &["\"5430-5440\"", "6379"], &["5432", "\"6000-6003\"", "1"]];
        let ports = ports[random.usize(..3)];
        let _ = writeln!(text, "ports = [{}]", ports.join(", "));
        if chance(random, 35) {
            let _ = writeln!(text, "addresses = {:?}", some(random, PREFIXES, 1, 4));
        }
    }
    if !with_ports || chance(random, 30) {
        let _ = writeln!(text, "sockets = {:?}", some(random, SOCKETS, 1, 2));
    }
    let clients = chance(random, 65);
    let servers = chance(random, 50);
    for (key, given) in [("clients", clients || !servers), ("servers", servers)] {
        if given {
            let _ = writeln!(text, "{key} = {:?}", some(random, &references(workloads), 0, 8));
        }
    }
    if with_ports && chance(random, 60) {
        let _ = writeln!(text, "sources = {:?}", some(random, PREFIXES, 0, 6));
    }
    let _ = writeln!(text, "action = \"{}\"", one(random, &["alert", "deny", "deny"]));
    mode(random, text);
}

fn listen(random: &mut Rng, text: &mut String, number: usize, workloads: &[String]) {
    let _ = writeln!(text, "[[listen]]\nname = \"l{number}\"");
    if chance(random, 70) {
        let _ = writeln!(text, "ports = {}", one(random, &["[5432]", "[\"6000-6003\", 9]", "[\"1-32767\"]"]));
    }
    if chance(random, 40) {
        let _ = writeln!(text, "addresses = {:?}", some(random, PREFIXES, 1, 3));
    }
    let _ = writeln!(text, "allow = {:?}", some(random, &references(workloads), 0, 4));
    let _ = writeln!(text, "action = \"{}\"", one(random, &["alert", "deny"]));
    mode(random, text);
}

fn exec(random: &mut Rng, text: &mut String, number: usize, workloads: &[String]) {
    let _ = writeln!(text, "[[exec]]\nname = \"e{number}\"");
    let (by, user, deny) = (chance(random, 50), chance(random, 40), chance(random, 65));
    if by || (!user && !deny) {
        let _ = writeln!(text, "by = {:?}", some(random, &references(workloads), 1, 3));
    }
    if user {
        let _ = writeln!(text, "user = {:?}", some(random, USERS, 1, 2));
    }
    if !user && deny && chance(random, 40) {
        let _ = writeln!(text, "except = {:?}", some(random, &references(workloads), 1, 2));
    }
    let files: Vec<&str> = PATTERNS.iter().chain(CLASSES).chain(&["@loader"]).copied().collect();
    let key = if deny { "deny" } else { "allow" };
    let _ = writeln!(text, "{key} = {:?}", some(random, &files, 1, 4));
    // Each condition on arguments doubles the states of the automaton, so only some rules have any.
    if deny && number < 3 && chance(random, 60) {
        let contains = some(random, &["--dump", "t 1", "ö"], 0, 1);
        let globs = some(random, &["-?", "--file=*", "*elect*"], 1, 1);
        let contains = contains.first().map(|text| format!("contains = [{text:?}], ")).unwrap_or_default();
        let _ = writeln!(text, "args = {{ {contains}glob = {globs:?} }}");
    }
    let _ = writeln!(text, "action = \"{}\"", one(random, &["alert", "deny", "deny", "kill"]));
    mode(random, text);
}

fn who(random: &mut Rng, policy: &Policy) -> Map<String, Value> {
    let mut who = Map::new();
    if chance(random, 90) {
        let exe = if chance(random, 8) { one(random, CLASSES) } else { one(random, FILES) };
        who.insert("exe".into(), exe.into());
    }
    for (key, values, percent) in [("user", USERS, 75), ("group", USERS, 60), ("cgroup", PLACES, 60)] {
        if chance(random, percent) {
            who.insert(key.into(), one(random, values).into());
        }
    }
    for key in ["parent", "ancestor"] {
        if chance(random, 30) {
            let names = references(&policy.workloads);
            who.insert(key.into(), some(random, &names, 1, 3).into());
        }
    }
    who
}

/// A request.
pub fn request(random: &mut Rng, policy: &Policy) -> Value {
    let mut who = who(random, policy);
    let port = random.choice(ASKED_PORTS).copied().unwrap_or(1);
    let address = one(random, ADDRESSES);
    // Exec rules allow nothing by themselves, so the others are asked more.
    const KINDS: &[&str] =
        &["connect", "connect", "connect", "bind", "bind", "exec", "exec", "source", "source", "unix", "raw"];
    let kind = one(random, KINDS);
    match kind {
        "connect" | "bind" => {
            let to = if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            };
            who.insert("to".into(), to.into());
            who.insert("udp".into(), random.bool().into());
        }
        "exec" => {
            let file = if chance(random, 20) { one(random, CLASSES) } else { one(random, FILES) };
            who.insert("file".into(), file.into());
            if chance(random, 25) {
                who.insert("script".into(), one(random, FILES).into());
            }
            let mut args = some(random, WORDS, 0, 3);
            if chance(random, 3) {
                args = vec!["x".repeat(100); 12];
            }
            who.insert("args".into(), args.into());
        }
        "source" => {
            who = Map::new();
            who.insert("from".into(), one(random, ADDRESSES).into());
            who.insert("to_port".into(), port.into());
            if chance(random, 80) {
                who.insert("to".into(), address.into());
            }
            who.insert("udp".into(), random.bool().into());
        }
        "unix" => {
            who.insert("socket".into(), one(random, ASKED_SOCKETS).into());
            who.insert("bind".into(), random.bool().into());
        }
        _ => {}
    }
    json!({ kind: who })
}
