//! What is doubtful on a host.

mod files;
mod limits;
mod lists;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Facts, lint_on};
use crate::config::Loaded;
use crate::config::tests::show;

/// This host, as if BPF LSM were active.
fn host() -> Facts {
    Facts { modules: Some("lockdown,bpf".into()), realtime: false, ..Facts::look() }
}

/// All findings of a text, each as `line:column severity: message | help`.
fn linted_on(text: &str, facts: &Facts) -> Vec<String> {
    let mut loaded = Loaded::from_text(Path::new("test.toml"), text);
    lint_on(&mut loaded, facts);
    show(&loaded)
}

fn linted(text: &str) -> Vec<String> {
    linted_on(text, &host())
}

/// The findings without their help.
fn messages(text: &str) -> Vec<String> {
    linted(text).iter().map(|line| line.split(" | ").next().unwrap().to_owned()).collect()
}

fn workload(name: &str, keys: &str) -> String {
    format!("[[workload]]\nname = \"{name}\"\n{keys}\n")
}

fn database(name: &str, keys: &str) -> String {
    format!("[[database]]\nname = \"{name}\"\n{keys}\n")
}

fn exec(name: &str, keys: &str) -> String {
    format!("[[exec]]\nname = \"{name}\"\n{keys}\n")
}

/// A directory with files of the given texts; its path ends with `/`.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}/", directory.path().display());
    (directory, path)
}

#[test]
fn a_workload_is_used_by_rules_and_by_other_workloads() {
    let one = |name: &str| workload(name, "user = [0]");
    let all: String = ["client", "server", "by", "raw", "parent", "ancestor", "unused"].map(one).concat();
    let text = all
        + &workload("self", "parent = [\"self\", \"parent\"]\nancestor = [\"ancestor\"]")
        + &database("d", "ports = [1]\nclients = [\"client\"]\nservers = [\"server\"]")
        + &exec("e", "by = [\"by\"]\ndeny = [\"/x/*\"]")
        + "[raw_sockets]\nallow = [\"raw\"]\n";
    assert_eq!(
        linted(&text),
        [
            "19:1 warning: nothing uses the workload `unused` | name it in `by`, `except`, `clients`, `servers` or `allow`, or remove it",
            "22:1 warning: nothing uses the workload `self` | name it in `by`, `except`, `clients`, `servers` or `allow`, or remove it",
        ]
    );
}

#[test]
fn a_database_may_be_open_to_everybody() {
    let text = workload("all", "exe = [\"/\"]")
        + &workload("some", "exe = [\"/**\"]\nuser = [0]")
        + &workload("root", "cgroup = [\"/\"]")
        + &database(
            "a",
            "ports = [1]\nclients = [\"all\", \"some\"]\nsources = [\"0.0.0.0/0\", \"::/0\", \"10.0.0.0/8\"]",
        )
        + &database("b", "ports = [2]\nservers = [\"root\"]\nclients = [\"some\"]")
        + "[raw_sockets]\nallow = [\"all\"]\n";
    assert_eq!(
        linted(&text),
        [
            "11:1 warning: `a` is open to every IPv4 address: `0.0.0.0/0` is in its `sources` | list the networks from which it is used, or remove `sources`",
            "11:1 warning: `a` is open to every IPv6 address: `::/0` is in its `sources` | list the networks from which it is used, or remove `sources`",
            "11:1 warning: every program may connect to `a`: the workload `all` is everybody | name in `clients` only those that need it, or remove the key",
            "16:1 warning: every program may serve `b`: the workload `root` is everybody | name in `servers` only those that need it, or remove the key",
            "21:1 warning: every program may open raw sockets: the workload `all` is everybody | name in `allow` only those that need them",
        ]
    );
}

#[test]
fn a_database_may_be_closed_to_everybody() {
    let keys = "ports = [1]\nclients = []\nservers = []\nsources = []\n";
    assert_eq!(messages(&database("a", keys)), [""; 0]);
    assert_eq!(
        messages(&database("a", &format!("{keys}mode = \"enforce\""))),
        [
            "1:1 warning: nobody on this host may connect to `a`",
            "1:1 warning: nobody on this host may be the server of `a`",
            "1:1 warning: no other host may reach `a`",
        ]
    );
}

#[test]
fn existing_connections_are_closed_only_if_the_rule_acts() {
    let found = |more: &str| {
        let keys = format!("ports = [1]\nclients = [\"w\"]\nexisting = \"close\"\n{more}");
        linted(&(workload("w", "user = [0]") + &database("a", &keys)))
    };
    assert_eq!(
        found(""),
        [
            "4:1 warning: `existing = \"close\"` closes nothing: `a` only observes | write `mode = \"enforce\"`, or `existing = \"list\"`"
        ]
    );
    assert_eq!(
        found("mode = \"enforce\"\naction = \"alert\""),
        [
            "4:1 warning: `existing = \"close\"` closes nothing: `a` only reports (`action = \"alert\"`) | write `action = \"deny\"`, or `existing = \"list\"`"
        ]
    );
    assert_eq!(found("mode = \"enforce\""), [""; 0]);
}

#[test]
fn a_host_may_not_be_able_to_hold_a_rule() {
    let text = "mode = \"enforce\"\n".to_owned()
        + &database("a", "sockets = [\"/run/*/s\"]\nsources = []\nports = [1]")
        + &database("b", "sockets = [\"/run/*/t\"]\nservers = []\ndegrade = \"observe\"")
        + &exec("c", "deny = [\"/x/*\"]")
        + &exec("d", "deny = [\"/y/*\"]\naction = \"alert\"")
        + &exec("e", "deny = [\"/z/*\"]\ndegrade = \"observe\"")
        + "[raw_sockets]\nallow = []\naction = \"deny\"\n";
    let of = |modules: Option<&str>, realtime| {
        let facts = Facts { modules: modules.map(str::to_owned), realtime, ..Facts::look() };
        let found = linted_on(&text, &facts);
        found.into_iter().filter(|line| line.contains("on this host: ")).collect::<Vec<_>>()
    };
    assert_eq!(of(Some("lockdown,bpf"), true), [""; 0]);
    let packets = "packet sockets can't be refused on this host";
    assert_eq!(
        of(Some("lockdown,yama"), true),
        [
            "2:1 warning: nothing is seen of the unix sockets of `a` on this host: `bpf` is not among the security modules of its kernel (lockdown,yama) | boot with `lsm=lockdown,yama,bpf`; or write `degrade = \"observe\"` in the rule".to_owned(),
            "12:1 warning: `c` can't be enforced on this host: `bpf` is not among the security modules of its kernel (lockdown,yama), and it schedules in real time, where a program runs before it can be killed | boot with `lsm=lockdown,yama,bpf`; or write `degrade = \"observe\"` in the rule".to_owned(),
            format!("23:1 warning: {packets}: `bpf` is not among the security modules of its kernel (lockdown,yama); raw sockets are | boot with `lsm=lockdown,yama,bpf`; or write `degrade = \"observe\"` in the rule"),
        ]
    );
    assert_eq!(
        of(None, false),
        [
            "2:1 warning: nothing is seen of the unix sockets of `a` on this host: its kernel doesn't say whether BPF LSM is active | see its security modules with `mount -t securityfs none /sys/kernel/security`; or write `degrade = \"observe\"` in the rule".to_owned(),
            format!("23:1 warning: {packets}: its kernel doesn't say whether BPF LSM is active; raw sockets are | see its security modules with `mount -t securityfs none /sys/kernel/security`; or write `degrade = \"observe\"` in the rule"),
        ]
    );
}

#[test]
fn in_real_time_nothing_is_killed_in_time() {
    let text = "mode = \"enforce\"\n".to_owned()
        + &exec("a", "deny = [\"/x/*\"]\naction = \"kill\"")
        + &exec("b", "deny = [\"/x/*\"]\nargs = { contains = [\"-x\"] }")
        + &exec("c", "deny = [\"/y/*\"]")
        + &exec("d", "deny = [\"/z/*\"]\naction = \"kill\"\ndegrade = \"observe\"");
    let of = |modules: &str, realtime| {
        let facts = Facts { modules: Some(modules.to_owned()), realtime, ..Facts::look() };
        let found = linted_on(&text, &facts);
        let about = found.iter().filter(|line| line.contains("can't be enforced on this host: "));
        about.filter_map(|line| line.split('`').nth(1).map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(of("lockdown,bpf", true), ["a", "b"]);
    assert_eq!(of("lockdown", true), ["a", "b", "c"]);
    assert_eq!(of("lockdown", false), [""; 0]);
}

#[test]
fn a_port_may_be_one_that_the_kernel_chooses_from() {
    let facts = Facts { local_ports: Some(32768..=60999), ..host() };
    let of = |keys: &str| {
        let found = linted_on(&database("a", keys), &facts);
        found.into_iter().filter(|line| line.contains("chooses from")).count()
    };
    assert_eq!(of("ports = [35432]\nservers = []"), 1);
    assert_eq!(of("ports = [\"5000-40000\"]\nservers = []"), 1);
    assert_eq!(of("ports = [5432, 61000]\nservers = []"), 0);
    assert_eq!(of("ports = [35432]\nclients = []"), 0);
}

#[test]
fn names_may_be_unknown_to_the_host() {
    let text = "agent = { interfaces = [\"lo\", \"nowhere0\"], cgroup = \"/no/where\" }\n".to_owned()
        + &workload(
            "w",
            "user = [\"no-such\", 4711]\ngroup = [\"no-such\"]\ncgroup = [\"/\", \"/no/such\", \"/no/*\"]",
        )
        + &exec("e", "by = [\"w\"]\nuser = [\"no-one\"]\ndeny = [\"/x/*\"]");
    let facts = Facts { cgroups: Some("/sys/fs/cgroup".into()), ..host() };
    let cgroup = "write the path of a directory below `/sys/fs/cgroup`, without that part";
    let account =
        |flag| format!("correct the name, or write the number of one from elsewhere: `id -{flag} NAME`");
    assert_eq!(
        linted_on(&text, &facts),
        [
            "1:31 warning: there is no interface `nowhere0` on this host | write one that `ip link` shows, or `interfaces = \"auto\"`; a glob may be for one that is made later".to_owned(),
            format!("1:53 warning: there is no cgroup `/no/where` on this host | {cgroup}"),
            format!("4:9 warning: there is no user `no-such` in `/etc/passwd` | {}", account('u')),
            format!("5:10 warning: there is no group `no-such` in `/etc/group` | {}", account('g')),
            format!("6:16 warning: there is no cgroup `/no/such` on this host | {cgroup}"),
            format!("10:9 warning: there is no user `no-one` in `/etc/passwd` | {}", account('u')),
        ]
    );
}

#[test]
fn a_policy_may_be_too_large_for_the_kernel() {
    let check = |text: &str| {
        let mut loaded = Loaded::from_text(Path::new("test.toml"), text);
        lint_on(&mut loaded, &host());
        assert!(loaded.config.is_none());
        show(&loaded).into_iter().find(|line| line.contains(" error: ")).unwrap()
    };
    // What follows the first `a` that may be the right one must be remembered for twelve letters.
    let glob = format!("/*a{}", "?".repeat(12));
    let found = check(&exec("e", &format!("deny = [\"{glob}\"]")));
    assert!(found.starts_with("0:0 error: the kernel can't hold this policy: "), "{found}");
    let workloads: String = (0..128).map(|index| workload(&format!("w{index}"), "user = [0]")).collect();
    let found = check(&(workloads + &exec("e", "user = [0]\ndeny = [\"/x\"]")));
    assert!(found.starts_with("385:1 error: too many workloads: 128 is the limit"), "{found}");
}
