use super::*;
use proptest::prelude::*;

const POLICY: &str = r#"
mode = "enforce"
[[workload]]
name = "api"
exe = ["/no/bin/psql"]
user = ["nosuchuser"]
[[workload]]
name = "postgres"
exe = ["/no/lib/*/postgres"]
descendants = true
[[workload]]
name = "web"
unit = ["nginx.service"]
[[workload]]
name = "below web"
ancestor = ["web"]
[[workload]]
name = "made by web"
parent = ["web"]
[[workload]]
name = "numbered"
user = [0, 1000]
group = [1000]
[[workload]]
name = "sliced"
cgroup = ["/a/b", "/c/*"]
exe = ["/no/bin/*"]
[[database]]
name = "cache"
ports = [6379]
clients = []
mode = "observe"
[[database]]
name = "orders"
ports = [5432, "6000-6010"]
addresses = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]
sockets = ["/no/run/.s.PGSQL.5432"]
clients = ["api", "numbered"]
servers = ["postgres"]
sources = ["10.0.2.0/24", "fd00:2::/32"]
[[database]]
name = "any"
ports = [5432]
servers = ["web", "sliced"]
sources = []
action = "alert"
[[exec]]
name = "no shells"
by = ["web", "below web"]
deny = ["/no/bin/*sh", "@memfd"]
action = "kill"
[[exec]]
name = "no dumps"
deny = ["/no/bin/psql"]
args = { contains = ["--dump"], glob = ["-[ab]*"] }
action = "alert"
[[exec]]
name = "only perl"
user = ["www", "1000"]
allow = ["/no/bin/perl"]
[[exec]]
name = "made by web runs nothing"
by = ["made by web"]
allow = []
[[exec]]
name = "no tar"
except = ["numbered"]
deny = ["/no/bin/tar"]
[[exec]]
name = "no cpio by web"
by = ["web"]
except = ["below web"]
deny = ["/no/bin/cpio"]
[[listen]]
name = "ports of services"
ports = ["1-1023", 5432]
allow = ["web"]
action = "deny"
[raw_sockets]
allow = ["web"]
action = "deny"
"#;

fn with<T>(policy: &str, ask: impl FnOnce(&mut Asker) -> T) -> T {
    let config = Config::from_text(policy).unwrap();
    let mut asker = Asker::new(&config, None).unwrap();
    ask(&mut asker)
}

/// Verdict, rule, and the workloads that the process is a member of.
fn answer(asker: &mut Asker, request: &str) -> (String, String, Vec<String>) {
    let request: Request = serde_json::from_str(request).unwrap();
    let asked = asker.ask(&request).unwrap();
    let story = asker.explain(&asked, None);
    let members = story.workloads.iter().filter(|row| row.member).map(|row| row.workload.clone()).collect();
    (story.verdict.to_owned(), story.rule.unwrap_or_default(), members)
}

#[test]
fn requests_are_decided_as_the_policy_says() {
    let rows: &[(&str, &str, &str, &[&str])] = &[
        (
            r#"{"connect": {"exe": "/no/bin/psql", "user": "nosuchuser", "to": "10.0.0.5:5432"}}"#,
            "allow",
            "orders",
            &["api"],
        ),
        (r#"{"connect": {"exe": "/no/bin/psql", "to": "10.0.0.5:5432"}}"#, "deny", "orders", &[]),
        (r#"{"connect": {"to": "[::ffff:10.0.0.5]:6001", "udp": true}}"#, "deny", "orders", &[]),
        (r#"{"connect": {"to": "0.0.0.0:5432"}}"#, "deny", "orders", &[]),
        (r#"{"connect": {"to": "11.0.0.5:5432"}}"#, "none", "", &[]),
        (
            r#"{"connect": {"user": 1000, "group": "1000", "to": "[fd01::]:5432"}}"#,
            "allow",
            "orders",
            &["numbered"],
        ),
        (r#"{"connect": {"to": "11.0.0.5:6379"}}"#, "deny", "cache", &[]),
        (
            r#"{"bind": {"exe": "/no/lib/15/postgres", "to": "0.0.0.0:5432"}}"#,
            "allow",
            "orders",
            &["postgres"],
        ),
        (
            r#"{"bind": {"exe": "/no/lib/x", "parent": ["postgres"], "to": "[::]:6000"}}"#,
            "allow",
            "orders",
            &["postgres"],
        ),
        (r#"{"bind": {"unit": "nginx.service", "to": "11.0.0.1:5432"}}"#, "allow", "any", &["web"]),
        (
            r#"{"bind": {"exe": "/no/bin/x", "cgroup": "/a/b/c", "to": "11.0.0.1:5432"}}"#,
            "allow",
            "any",
            &["sliced"],
        ),
        (r#"{"bind": {"exe": "/no/bin/x", "cgroup": "/a/bc", "to": "11.0.0.1:5432"}}"#, "alert", "any", &[]),
        (r#"{"bind": {"to": "0.0.0.0:80"}}"#, "deny", "ports of services", &[]),
        (
            r#"{"bind": {"unit": "nginx.service", "to": "0.0.0.0:80"}}"#,
            "allow",
            "ports of services",
            &["web"],
        ),
        (r#"{"bind": {"to": "0.0.0.0:8080"}}"#, "none", "", &[]),
        (r#"{"connect": {"to": "10.0.0.5:80"}}"#, "none", "", &[]),
        (r#"{"source": {"from": "10.0.2.7", "to_port": 5432, "to": "10.0.0.1"}}"#, "allow", "orders", &[]),
        (r#"{"source": {"from": "10.0.3.7", "to_port": 5432, "to": "10.0.0.1"}}"#, "drop", "orders", &[]),
        (r#"{"source": {"from": "10.0.3.7", "to_port": 5432}}"#, "alert", "any", &[]),
        (r#"{"exec": {"unit": "nginx.service", "file": "/no/bin/sh"}}"#, "kill", "no shells", &["web"]),
        (r#"{"exec": {"ancestor": ["web"], "file": "@memfd"}}"#, "kill", "no shells", &["below web"]),
        (
            r#"{"exec": {"parent": ["web"], "file": "/no/bin/perl"}}"#,
            "deny",
            "made by web runs nothing",
            &["below web", "made by web"],
        ),
        (r#"{"exec": {"file": "/no/bin/psql", "args": ["x", "a--dump"]}}"#, "alert", "no dumps", &[]),
        (r#"{"exec": {"file": "/no/bin/psql", "args": ["-c"]}}"#, "none", "", &[]),
        (r#"{"exec": {"user": "www", "file": "/no/bin/psql", "args": ["-c"]}}"#, "deny", "only perl", &[]),
        (r#"{"exec": {"user": "www", "file": "/no/bin/../bin/./perl"}}"#, "none", "", &[]),
        (r#"{"exec": {"file": "/no/bin/tar"}}"#, "deny", "no tar", &[]),
        (r#"{"exec": {"user": 0, "group": 1000, "file": "/no/bin/tar"}}"#, "none", "", &["numbered"]),
        (r#"{"exec": {"file": "/no/bin/cpio"}}"#, "none", "", &[]),
        (
            r#"{"exec": {"unit": "nginx.service", "file": "/no/bin/cpio"}}"#,
            "deny",
            "no cpio by web",
            &["web"],
        ),
        (
            r#"{"exec": {"unit": "nginx.service", "ancestor": ["web"], "file": "/no/bin/cpio"}}"#,
            "none",
            "",
            &["web", "below web"],
        ),
        (r#"{"unix": {"socket": "/no/run/.s.PGSQL.5432"}}"#, "deny", "orders", &[]),
        (
            r#"{"unix": {"exe": "/no/lib/1/postgres", "socket": "/no/run/.s.PGSQL.5432", "bind": true}}"#,
            "allow",
            "orders",
            &["postgres"],
        ),
        (r#"{"unix": {"socket": "/no/run/x"}}"#, "none", "", &[]),
        (r#"{"raw": {"unit": "nginx.service"}}"#, "allow", "raw_sockets", &["web"]),
        (r#"{"raw": {}}"#, "deny", "raw_sockets", &[]),
    ];
    with(POLICY, |asker| {
        for (request, verdict, rule, members) in rows {
            let found = answer(asker, request);
            assert_eq!((&found.0[..], &found.1[..]), (*verdict, *rule), "{request}");
            assert_eq!(found.2, *members, "{request}");
        }
    });
}

#[test]
fn more_arguments_than_are_seen_are_no_way_round() {
    let args = vec!["x"; 1000];
    let request = serde_json::json!({"exec": {"file": "/no/bin/psql", "args": args}}).to_string();
    with(POLICY, |asker| assert_eq!(answer(asker, &request).1, "no dumps"));
}

#[test]
fn a_process_outside_of_the_scope_is_not_judged() {
    let policy = "[agent]\ncgroup = \"/a\"\n[[database]]\nname = \"d\"\nports = [1]\nclients = []\n";
    with(policy, |asker| {
        for (cgroup, verdict) in [("/a", "deny"), ("/a/b", "deny"), ("/", "none"), ("/ab", "none")] {
            let request = serde_json::json!({"connect": {"cgroup": cgroup, "to": "1.1.1.1:1"}}).to_string();
            assert_eq!(answer(asker, &request).0, verdict, "{cgroup}");
        }
        assert_eq!(answer(asker, r#"{"connect": {"to": "1.1.1.1:1"}}"#).0, "deny", "not given: in scope");
    });
}

#[test]
fn what_cannot_be_asked_is_told() {
    with(POLICY, |asker| {
        for (request, told) in [
            (r#"{"raw": {"exe": "psql"}}"#, "no absolute path"),
            (r#"{"raw": {"cgroup": "a"}}"#, "no path of a cgroup"),
            (r#"{"raw": {"user": "4294967295"}}"#, "no number"),
            (r#"{"raw": {"parent": ["wep"]}}"#, "did you mean \"web\""),
            (r#"{"exec": {"file": "@loader"}}"#, "/lib64/ld-linux"),
        ] {
            let request: Request = serde_json::from_str(request).unwrap();
            let error = format!("{:#}", asker.ask(&request).err().unwrap());
            assert!(error.contains(told), "{error}");
        }
    });
}

#[test]
fn what_comes_over_the_loopback_device_is_said_to_pass() {
    let told = |asker: &mut Asker, from: &str| {
        let request = serde_json::json!({"source": {"from": from, "to_port": 5432, "to": "10.0.0.1"}});
        let request: Request = serde_json::from_value(request).unwrap();
        let asked = asker.ask(&request).unwrap();
        asker.explain(&asked, None).sentence
    };
    with(POLICY, |asker| {
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let told = told(asker, loopback);
            assert!(told.contains("over the loopback device") && told.ends_with("it passes"), "{told}");
            let request =
                format!(r#"{{"source": {{"from": "{loopback}", "to_port": 5432, "to": "10.0.0.1"}}}}"#);
            assert_eq!(answer(asker, &request), ("none".to_owned(), String::new(), vec![]), "{loopback}");
        }
        let told = told(asker, "10.0.3.7");
        assert!(told.contains("the packet is dropped; one of this host itself"), "{told}");
    });
}

const SCRIPTS: &str = r#"
mode = "enforce"
[[exec]]
name = "reported"
deny = ["/no/bin/sh"]
user = ["seen"]
action = "alert"
[[exec]]
name = "scripts"
deny = ["/no/tmp/**"]
[[exec]]
name = "killed"
deny = ["/no/opt/**"]
action = "kill"
[[exec]]
name = "dumps"
deny = ["/no/bin/sh"]
args = { glob = ["--dump"] }
[[exec]]
name = "listed"
user = ["listed"]
allow = ["/no/bin/sh", "/no/bin/own"]
"#;

#[test]
fn a_script_is_judged_with_its_interpreter() {
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        // Refused alone, although an earlier rule speaks of the interpreter.
        ("/no/tmp/x", "seen", "deny", "scripts", "alert reported"),
        ("/no/bin/own", "seen", "alert", "reported", "alert reported"),
        ("/no/opt/x", "other", "kill", "killed", "none "),
        ("/no/bin/other", "listed", "deny", "listed", "none "),
        ("/no/bin/own", "listed", "none", "", "none "),
    ];
    with(SCRIPTS, |asker| {
        for (script, user, verdict, rule, blind) in rows {
            let request = serde_json::json!({"exec": {"script": script, "file": "/no/bin/sh", "user": user}});
            let asked = asker.ask(&serde_json::from_value(request).unwrap()).unwrap();
            let story = asker.explain(&asked, None);
            let without = story.without_lsm.as_ref().unwrap();
            let without = format!("{} {}", without.verdict, without.rule.as_deref().unwrap_or_default());
            let found = (story.verdict, story.rule.as_deref().unwrap_or_default(), &without[..]);
            assert_eq!(found, (*verdict, *rule, *blind), "{script} {user}: {}", story.sentence);
            assert!(story.sentence.contains("Without BPF LSM"), "{}", story.sentence);
        }
        // The interpreter gets the script as an argument, before the others.
        let request = r#"{"exec": {"script": "--dump", "file": "/no/bin/sh"}}"#;
        assert!(asker.ask(&serde_json::from_str(request).unwrap()).is_err(), "no absolute path");
        let request = r#"{"exec": {"script": "/no/x", "file": "/no/bin/sh", "args": ["--dump"]}}"#;
        assert_eq!(answer(asker, request).1, "dumps");
    });
}

#[test]
fn a_script_of_this_host_is_followed_to_what_runs() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("real"), "\x7fELF").unwrap();
    std::fs::write(path("inner"), format!("#!{} -i\n", path("real"))).unwrap();
    std::fs::write(path("outer"), format!("#! {}\t-o x \n", path("inner"))).unwrap();
    let tree = Tree::open().unwrap();
    let config = Config::from_text("").unwrap();
    let mut asker = Asker::new(&config, Some(&tree)).unwrap();
    let mut ask = |request: serde_json::Value| {
        asker.ask(&serde_json::from_value(serde_json::json!({"exec": request})).unwrap())
    };
    for key in ["file", "script"] {
        let asked = ask(serde_json::json!({key: path("outer"), "args": ["a"]})).unwrap();
        let scripts: Vec<_> = asked.scripts.iter().map(|file| file.given.clone()).collect();
        assert_eq!(scripts, [path("outer"), path("inner")]);
        assert_eq!(asked.file.unwrap().given, path("real"));
        let question = &asked.question;
        let args = String::from_utf8_lossy(&question.args[..question.args_len.into()]).into_owned();
        let wanted = [&path("real")[..], "-i", &path("inner"), "-o x", &path("outer"), "a", ""].join("\0");
        assert_eq!(args, wanted);
    }
    assert!(ask(serde_json::json!({"script": path("real")})).is_err(), "no script");
    assert!(ask(serde_json::json!({})).is_err(), "nothing said");
    std::fs::write(path("loop"), format!("#!{}\n", path("loop"))).unwrap();
    assert!(ask(serde_json::json!({"file": path("loop")})).is_err(), "itself");
}

#[test]
fn a_file_is_known_by_all_its_names() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("real"), "content").unwrap();
    std::fs::hard_link(path("real"), path("hard")).unwrap();
    std::os::unix::fs::symlink(path("real"), path("soft")).unwrap();
    std::fs::write(path("other"), "content").unwrap();
    let digest = crate::kernel::object::hex(&sha2::Digest::finalize(
        <sha2::Sha256 as sha2::Digest>::new_with_prefix("content"),
    ));
    for (sha256, member) in [(String::new(), true), (digest, true), ("0".repeat(64), false)] {
        let sha256 = if sha256.is_empty() { sha256 } else { format!("sha256 = [{sha256:?}]") };
        let policy = format!(
            "[[workload]]\nname = \"w\"\nexe = [{:?}]\n{sha256}\n[raw_sockets]\nallow = [\"w\"]\naction = \"deny\"\n",
            path("soft")
        );
        let config = Config::from_text(&policy).unwrap();
        let tree = Tree::open().unwrap();
        let mut asker = Asker::new(&config, Some(&tree)).unwrap();
        for (name, same) in [("real", true), ("hard", true), ("soft", true), ("other", false)] {
            let request = serde_json::json!({"raw": {"exe": path(name)}}).to_string();
            let verdict = if same && member { "allow" } else { "deny" };
            assert_eq!(answer(&mut asker, &request).0, verdict, "{name} {sha256}");
        }
    }
}

fn words(choices: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(choices, 0..=most)
}

fn who() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    const EXES: &[&str] = &["/no/bin/psql", "/no/lib/9/postgres", "/no/bin/sh", "/else", "@memfd"];
    const KIN: &[&str] = &["api", "web", "postgres", "numbered", "sliced"];
    let one = |choices| prop::option::of(prop::sample::select(choices));
    let cgroups: &[&str] = &["/", "/system.slice/nginx.service", "/a/b", "/a/b/x", "/c/d/e", "/c"];
    (
        one(EXES),
        one(&["nosuchuser", "1000", "www", "0"]),
        one(&["1000", "x"]),
        one(cgroups),
        words(KIN, 2),
        words(KIN, 2),
    )
        .prop_map(|(exe, user, group, cgroup, parent, ancestor)| {
            let given = [("exe", exe), ("user", user), ("group", group), ("cgroup", cgroup)];
            let mut who: serde_json::Map<_, _> =
                given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
            who.insert("parent".to_owned(), parent.into());
            who.insert("ancestor".to_owned(), ancestor.into());
            who
        })
}

fn request() -> impl Strategy<Value = String> {
    let ends = const {
        &["10.0.0.5", "11.0.0.5", "127.0.0.1", "0.0.0.0", "[::]", "[fd00:2::1]", "[::ffff:10.1.1.1]"]
    };
    let end = (
        prop::sample::select(&ends[..]).prop_map(str::to_owned),
        prop::sample::select(&[5432, 6379, 6005, 1][..]),
    );
    let files =
        const { &["/no/bin/sh", "/no/bin/psql", "/no/bin/perl", "/x", "@memfd", "@deleted", "@unplaced"] };
    let args = words(&["-x", "--dump", "-a", "b"], 3);
    (who(), 0_usize..6, end, any::<bool>(), prop::sample::select(&files[..]), args).prop_map(
        |(mut who, kind, (address, port), flag, file, args)| {
            let plain = address.trim_matches(['[', ']']).to_owned();
            let kind = match kind {
                0 | 1 => {
                    who.insert("to".into(), format!("{address}:{port}").into());
                    who.insert("udp".into(), flag.into());
                    ["connect", "bind"][kind]
                }
                2 => {
                    who.insert("file".into(), file.into());
                    who.insert("args".into(), args.into());
                    "exec"
                }
                3 => {
                    who.insert("socket".into(), if flag { "/no/run/.s.PGSQL.5432" } else { "/x" }.into());
                    who.insert("bind".into(), (port > 6000).into());
                    "unix"
                }
                4 => {
                    who = serde_json::Map::new();
                    who.insert("from".into(), plain.into());
                    who.insert("to_port".into(), port.into());
                    if flag {
                        who.insert("to".into(), "10.2.2.2".into());
                    }
                    "source"
                }
                _ => "raw",
            };
            serde_json::json!({ kind: who }).to_string()
        },
    )
}

proptest! {
    // To compile the policy takes longer than to ask it.
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The reasons are derived beside the evaluator: they must name the rule that it found, and the workloads.
    #[test]
    fn the_reasons_agree_with_the_evaluator(requests in prop::collection::vec(request(), 500)) {
        with(POLICY, |asker| {
            for request in requests {
                let request: Request = serde_json::from_str(&request).unwrap();
                let asked = asker.ask(&request).unwrap();
                let reply = asker.decide(&asked);
                let story = asker.explain(&asked, None);
                let decides = story.rules.iter().find(|step| step.decides).map(|step| &step.rule);
                prop_assert_eq!(decides, story.rule.as_ref());
                for (index, row) in story.workloads.iter().enumerate() {
                    prop_assert_eq!(row.member, reply.workloads.contains(index));
                    prop_assert_eq!(row.member, row.fails.is_empty() || row.as_descendant);
                }
            }
            Ok(())
        })?;
    }
}
