//! The baseline policies as they are shipped: what each of their rules reports, what it must not, and that none of them acts. How the
//! programs ended, and what a server noted, are the oracle.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup, doctor::security_hooks, turn},
    cgroup::Cgroup,
    kernel::takes_programs_at,
    needs,
    netns::Netns,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

use crate::process_memory::WATCHED;

const SHELLS: &str = include_str!("../../policies/90-shells.toml");
const EXECUTION: &str = include_str!("../../policies/90-execution.toml");
const CLIENTS: &str = include_str!("../../policies/90-database-clients.toml");
const LISTENERS: &str = include_str!("../../policies/90-listeners.toml");
const DUMPS: &str = include_str!("../../policies/90-dump-tools.toml");
const MEMORY: &str = include_str!("../../policies/90-process-memory.toml");
const SCANS: &str = include_str!("../../policies/90-database-scans.toml");

/// A system of units, as far as policies can tell.
struct Scene {
    place: Place,
    slice: Cgroup,
}

impl Scene {
    fn new() -> Result<Self> {
        Ok(Self { place: Place::new()?, slice: Cgroup::slice()? })
    }

    /// An agent that would enforce whatever doesn't say otherwise.
    fn agent<'a>(&self, policy: &str, netns: Option<&'a Netns>) -> Result<Agent<'a>> {
        let setup = Setup::new(Mode::Enforce, &self.slice).rules(policy);
        match netns {
            Some(netns) => setup.within(netns).start(),
            None => setup.start(),
        }
    }

    /// What a program says that runs in a unit.
    fn run(&self, unit: &str, program: impl AsRef<Path>, words: &[&str]) -> Result<Value> {
        let group = self.slice.below(unit)?;
        Program::new(program.as_ref()).args(words).inside(&group)?.json(deadline(30.0))
    }

    /// Has a copy of `probe` start a program so many times, which must end well.
    fn spawn(&self, unit: &str, by: &Path, program: &Path, count: u64, words: &[&str]) -> Result<()> {
        let (program, count_word) = (format!("program={}", program.display()), format!("count={count}"));
        let said = self.run(unit, by, &[&["spawn", &program, &count_word, "--"], words].concat())?;
        assert_eq!(said["ended"], json!({ "code 0": count }), "{said}");
        Ok(())
    }
}

/// Each of these rules has so many findings, and no other rule has any; they say what people are to do about them.
fn reported(agent: Agent, expected: &[(&str, u64)]) -> Result<()> {
    for (rule, count) in expected {
        agent.wait_for_metric("monitor_findings_total", &[("rule", rule)], *count as f64, deadline(20.0))?;
    }
    let stopped = agent.stop()?;
    let findings = stopped.records().matching(|record| record["type"] == "finding")?;
    for (rule, count) in expected {
        let of_rule = findings.iter().filter(|finding| finding["rule"] == **rule).count();
        assert_eq!(of_rule as u64, *count, "{rule}: {findings:#?}");
    }
    let all: u64 = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(findings.len() as u64, all, "{findings:#?}");
    for finding in &findings {
        assert_eq!(finding["mode"], "observe", "{finding}");
        for key in ["severity", "practice", "why"] {
            assert!(finding[key].is_string(), "{key} of {finding}");
        }
        assert!(finding["attack"].as_array().is_some_and(|ids| !ids.is_empty()), "{finding}");
    }
    Ok(())
}

/// A copy of a program that isn't in a directory where anybody may write.
fn elsewhere(program: &str) -> Result<PathBuf> {
    needs::program(program)
}

#[test]
fn a_shell_below_a_network_service_is_reported() -> Result<()> {
    let scene = Scene::new()?;
    let (server, admin) = (scene.place.copy("probe", "sbin/nginx")?, scene.place.copy("probe", "bin/tool")?);
    let (shell, worker) = (scene.place.copy("exit0", "bin/sh")?, scene.place.copy("exit0", "bin/worker")?);
    let agent = scene.agent(SHELLS, None)?;
    scene.spawn("nginx.service", &server, &worker, 5, &[])?;
    scene.spawn("session-1.scope", &admin, &shell, 5, &[])?;
    scene.spawn("nginx.service", &server, &shell, 3, &[])?;
    // One that what it started starts.
    let words = ["vfork".to_owned(), format!("program={}", shell.display())];
    scene.spawn("nginx.service", &server, &admin, 1, &words.each_ref().map(String::as_str))?;
    // A real one, by whatever link leads there; guests have none.
    let real = Path::new("/bin/sh");
    if real.exists() {
        scene.spawn("nginx.service", &server, real, 1, &["-c", "true"])?;
    }
    reported(agent, &[("shell below a network service", 4 + u64::from(real.exists()))])
}

#[test]
fn programs_from_where_none_belong_are_reported() -> Result<()> {
    let scene = Scene::new()?;
    let (probe, program) = (elsewhere("probe")?, elsewhere("exit0")?);
    let dropped = scene.place.copy("exit0", "dropped")?;
    let apart = tempfile::Builder::new().prefix("monitor-test-").tempdir_in("/")?;
    let agent = scene.agent(EXECUTION, None)?;
    scene.spawn("a.service", &probe, &program, 5, &[])?;
    scene.spawn("a.service", &probe, &dropped, 3, &[])?;
    let group = scene.slice.below("a.service")?;
    let copy = apart.path().join("copy");
    for way in ["memfd", "deleted"] {
        let turn = Program::new(&probe).arg(way).with("program", &program).with("copy", &copy);
        let end = turn.inside(&group)?.finish(deadline(20.0))?;
        assert_eq!(end.status.code(), Some(0), "{way}: {}", end.stderr);
    }
    reported(
        agent,
        &[
            ("execution from a world-writable directory", 3),
            ("execution from memory", 1),
            ("execution of a deleted file", 1),
        ],
    )
}

#[test]
fn a_database_client_of_an_unexpected_unit_is_reported() -> Result<()> {
    let (scene, netns) = (Scene::new()?, Netns::new()?);
    let server = Server::start(&scene.place, Some(&netns), &["127.0.0.1:5432", "127.0.0.1:8080"], &[])?;
    let agent = scene.agent(CLIENTS, Some(&netns))?;
    for (unit, port, count) in [
        ("postgresql@15-main.service", 5432, 5),
        ("prometheus-postgres-exporter.service", 5432, 2),
        ("api.service", 8080, 5),
        ("api.service", 5432, 3),
    ] {
        let group = scene.slice.below(unit)?;
        let client = Program::probe()?.arg("connect").with("to", format!("127.0.0.1:{port}"));
        let client = client.with("count", count.to_string()).with("tag", unit).within(&netns)?;
        assert_eq!(client.inside(&group)?.json(deadline(20.0))?, json!({ "ok": count }), "{unit}");
    }
    server.wait_for("api.service", 8, deadline(10.0))?;
    reported(agent, &[("database client of an unexpected unit", 3)])
}

#[test]
fn dumps_outside_of_backups_are_reported() -> Result<()> {
    let scene = Scene::new()?;
    let copy = |name: &str| scene.place.copy("exit0", name);
    let (probe, dump, other) = (elsewhere("probe")?, copy("pg_dump")?, copy("pg_dumper")?);
    let client = copy("redis-cli")?;
    let agent = scene.agent(DUMPS, None)?;
    let save = ["--rdb", "/dev/null"];
    for (program, words) in [(&dump, &[][..]), (&client, &save)] {
        scene.spawn("nightly-backup.service", &probe, program, 2, words)?;
    }
    scene.spawn("api.service", &probe, &other, 2, &[])?;
    scene.spawn("api.service", &probe, &client, 2, &["GET", "rdb"])?;
    scene.spawn("api.service", &probe, &dump, 3, &["--file=x"])?;
    scene.spawn("session-1.scope", &probe, &client, 1, &save)?;
    reported(agent, &[("dump tool outside of a backup", 3), ("dump by a client outside of a backup", 1)])
}

/// The outcome of binding and listening.
fn binds(program: Program, to: &str, way: &str) -> Result<Value> {
    Ok(program.arg("bind").with("to", to).with("way", way).json(deadline(20.0))?[to].clone())
}

#[test]
fn a_listener_that_nobody_knows_is_reported() -> Result<()> {
    let (scene, netns) = (Scene::new()?, Netns::new()?);
    let (known, other) = (scene.place.copy("probe", "sbin/nginx")?, scene.place.copy("probe", "bin/tool")?);
    let program = |path: &Path| Program::new(path).within(&netns)?.inside(&scene.slice);
    let agent = scene.agent(LISTENERS, Some(&netns))?;
    for (path, to) in [(&known, "0.0.0.0:80"), (&other, "127.0.0.1:40000")] {
        assert_eq!(binds(program(path)?, to, "tcp")?, json!({ "ok": 1 }), "{to}");
    }
    for (to, way) in [("127.0.0.1:4444", "tcp"), ("[::1]:4444", "tcp"), ("0.0.0.0:53", "udp")] {
        assert_eq!(binds(program(&other)?, to, way)?, json!({ "ok": 1 }), "{to}");
    }
    // A client of such a port is nobody's business.
    let server = Server::start(&scene.place, Some(&netns), &["127.0.0.1:4445"], &[])?;
    let client = program(&other)?.arg("connect").with("to", server.tcp()[0].to_string()).with("count", "4");
    assert_eq!(client.json(deadline(20.0))?, json!({ "ok": 4 }));
    // Two TCP servers, each at its bind and when it listens.
    reported(agent, &[("unknown listener", 5)])
}

#[test]
fn reading_the_memory_of_another_process_is_reported() -> Result<()> {
    let scene = Scene::new()?;
    let (debugger, other) = (scene.place.copy("probe", "bin/gdb")?, scene.place.copy("probe", "bin/tool")?);
    let mut target = Program::probe()?.arg("hold").inside(&scene.slice)?.start()?;
    target.json_line(deadline(20.0))?;
    let pid = format!("pid={}", target.pid());
    // Elsewhere the agent starts without it.
    let seen = {
        let _turn = turn();
        security_hooks()? || takes_programs_at(WATCHED)?
    };
    let agent = scene.agent(MEMORY, None)?;
    for (program, way) in [(&debugger, "read"), (&debugger, "attach"), (&other, "look"), (&other, "read")] {
        let said = scene.run("a.service", program, &["memory", &pid, &format!("way={way}")])?;
        assert_eq!(said, "ok", "{way}");
    }
    reported(agent, if seen { &[("process_memory", 1)] } else { &[] })
}

/// A rule about listening that acts, after one about a database that speaks of the same port.
#[test]
fn who_is_not_on_the_list_does_not_listen() -> Result<()> {
    let (scene, netns) = (Scene::new()?, Netns::new()?);
    let (web, base) = (scene.place.copy("probe", "web")?, scene.place.copy("probe", "base")?);
    let program = |path: &Path| Program::new(path).within(&netns)?.inside(&scene.slice);
    let rules = format!(
        "[[workload]]\nname = \"web\"\nexe = [{web:?}]\n[[workload]]\nname = \"base\"\nexe = [{base:?}]\n\
         [[listen]]\nname = \"services\"\nallow = [\"web\"]\naction = \"deny\"\n\
         [[database]]\nname = \"orders\"\nports = [5432]\nservers = [\"base\"]\n"
    );
    let cases = [(&web, 80, true), (&base, 80, false), (&web, 5432, false), (&base, 5432, true)];
    for (path, port, _) in cases {
        let to = format!("127.0.0.1:{port}");
        assert_eq!(binds(program(path)?, &to, "tcp")?, json!({ "ok": 1 }), "control: {to}");
    }
    for mode in Mode::BOTH {
        let agent = Setup::new(mode, &scene.slice).within(&netns).rules(&rules).start()?;
        for (path, port, may) in cases {
            let outcome = if may || mode == Mode::Observe { "ok" } else { "EPERM" };
            let (to, name) = (format!("127.0.0.1:{port}"), path.display());
            assert_eq!(binds(program(path)?, &to, "tcp")?, json!({ outcome: 1 }), "{name} at {to}, {mode:?}");
        }
        let denied = [("rule", "services"), ("kind", "listen"), ("verdict", "deny"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &denied, 1.0, deadline(10.0))?;
        let all = agent.metrics()?;
        assert_eq!(all.sum("monitor_database_connections_total", &[("database", "services")]), 0.0);
        let finding =
            agent.records().wait_for("the finding", deadline(20.0), |record| record["rule"] == "services")?;
        assert_eq!(
            (&finding["rule_kind"], &finding["kind"]),
            (&"listen".into(), &"bind".into()),
            "{finding}"
        );
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_scan_of_database_ports_is_reported_and_a_pool_of_connections_is_not() -> Result<()> {
    let (scene, here, there) = (Scene::new()?, Netns::new()?, Netns::new()?);
    here.link("here", &there, "there")?;
    let address = |end: u8| IpAddr::from([10, 91, 0, end]);
    here.address("here", address(1), 24)?;
    there.address("there", address(2), 24)?;
    there.address("there", address(3), 24)?;
    let server = Server::start(&scene.place, Some(&here), &["10.91.0.1:5432"], &[])?;
    let setup = Setup::new(Mode::Enforce, &scene.slice).rules(SCANS).within(&here).interfaces(&["here"]);
    let agent = setup.start()?;
    let pool = Program::probe()?.arg("attempt").with("to", server.tcp()[0].to_string());
    let pool = pool.with("from", "10.91.0.3:0").with("count", "8").with("rate", "100").within(&there)?;
    assert_eq!(pool.json(deadline(20.0))?, json!({ "ok": 8 }));
    let ports = [1433, 1521, 3306, 5432, 6379, 9042, 9200, 11211, 27017, 27018, 27019];
    let to: Vec<String> = ports.iter().map(|port| format!("10.91.0.1:{port}")).collect();
    let scan = Program::probe()?.arg("reach").with("to", to.join(",")).with("from", "10.91.0.2:0");
    let outcomes = scan.within(&there)?.json(deadline(20.0))?;
    // All of it arrived: a closed port answers.
    let expected: Vec<_> = ports.map(|port| if port == 5432 { "ok" } else { "ECONNREFUSED" }).into();
    assert_eq!(outcomes, json!(expected));
    let over = [("rule", "database port scan"), ("verdict", "drop"), ("mode", "observe")];
    agent.wait_for_metric("monitor_packets_total", &over, 3.0, deadline(10.0))?;
    let finding =
        agent.records().wait_for("the scan", deadline(20.0), |record| record["type"] == "finding")?;
    assert_eq!(finding["source"].as_str().context("a source")?, "10.91.0.2", "{finding}");
    let stopped = agent.stop()?;
    let findings = stopped.records().findings("database port scan")?;
    assert!(findings.iter().all(|finding| finding["source"] == "10.91.0.2"), "{findings:#?}");
    Ok(())
}
