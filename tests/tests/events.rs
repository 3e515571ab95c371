//! Events: every field against what the kernel says elsewhere, and hostile input that must stay data.

mod hostile;

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::SocketAddr,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    wait::deadline,
};

use self::hostile::{hostile, unescaped};

const SOON: f64 = 10.0;

/// Fields of /proc/PID/stat behind the name: the parent's pid and the start time in nanoseconds since boot, in
/// steps of a clock tick.
fn stat(pid: u32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // SAFETY: takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
    Ok((fields[1].parse()?, fields[19].parse::<u64>()? * (1_000_000_000 / ticks)))
}

fn event(agent: &Agent<'_>, kind: &str, pid: u32) -> Result<Value> {
    agent.records().wait_for(&format!("the {kind} event of {pid}"), deadline(SOON), |record| {
        record["type"] == "event" && record["kind"] == kind && record["pid"] == pid
    })
}

/// The fields that every event of a process has, against /proc and the file itself.
fn check_process(event: &Value, pid: u32, program: &Path, user: u32, group: &Cgroup) -> Result<()> {
    let (parent, start) = stat(pid)?;
    let file = fs::metadata(program)?;
    let device = format!("{}:{}", libc::major(file.dev()), libc::minor(file.dev()));
    let expected = [
        ("pid", json!(pid)),
        ("ppid", json!(parent)),
        ("uid", json!(user)),
        ("gid", json!(user)),
        ("cgroup", json!(fs::metadata(group.path())?.ino())),
    ];
    for (key, value) in expected {
        assert_eq!(event[key], value, "{key} of {event}");
    }
    let exe = &event["exe"];
    let expected = [
        ("path", json!(program.to_str().context("a path")?)),
        ("dev", json!(device)),
        ("ino", json!(file.ino())),
        ("size", json!(file.size())),
    ];
    for (key, value) in expected {
        assert_eq!(exe[key], value, "exe.{key} of {event}");
    }
    let started = event["start_ns"].as_u64().context("start_ns")?;
    let tick = 10_000_000;
    ensure!((start..start + tick).contains(&started), "start_ns is not {start} + a tick: {event}");
    let boot = event["boot_ns"].as_u64().context("boot_ns")?;
    ensure!(boot >= started, "before its process started: {event}");
    let time = event["time"].as_str().context("time")?;
    ensure!(time.len() >= 20 && time.as_bytes()[10] == b'T', "no time: {event}");
    Ok(())
}

fn hold(program: &Path, group: &Cgroup, arguments: &[OsString]) -> Result<Running> {
    let mut held = Program::new(program).arg("hold").args(arguments).inside(group)?.start()?;
    held.json_line(deadline(SOON))?;
    Ok(held)
}

#[test]
fn an_exec_tells_who_ran_what() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let program = place.copy("probe", "a program")?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    for user in [0, 65534] {
        let words = ["hold", "two words", "\"quoted\""];
        let mut held = Program::new(&program).args(words).user(user).inside(&group)?.start()?;
        held.json_line(deadline(SOON))?;
        let event = event(&agent, "exec", held.pid())?;
        check_process(&event, held.pid(), &program, user, &group)?;
        let mut expected = vec![program.to_str().context("a path")?];
        expected.extend(words);
        assert_eq!(event["args"], json!(expected));
        assert_eq!(event["args_truncated"], false);
        held.finish(deadline(SOON))?;
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn a_script_is_reported_with_the_program_that_runs_it() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let interpreter = place.copy("probe", "interpreter")?;
    let script = place.join("script");
    fs::write(&script, format!("#!{} hold\n", interpreter.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    let mut held = Program::new(&script).inside(&group)?.start()?;
    held.json_line(deadline(SOON))?;
    let event = event(&agent, "exec", held.pid())?;
    check_process(&event, held.pid(), &interpreter, 0, &group)?;
    assert_eq!(event["args"], json!([interpreter, "hold", script]));
    held.finish(deadline(SOON))?;
    assert_eq!(agent.stop()?.records().events("exec")?.len(), 1, "one exec, one event");
    Ok(())
}

#[test]
fn hostile_arguments_stay_data() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let program = place.copy("probe", "na\u{1b}[31mme\n")?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    let held = hold(&program, &group, &hostile())?;
    let event = event(&agent, "exec", held.pid())?;
    let arguments = event["args"].as_array().context("args")?;
    // Up to where the record's room ends, each argument is there, in its place.
    assert_eq!(event["args_truncated"], false, "{event}");
    assert_eq!(arguments.len(), hostile().len() + 2, "{event}");
    for (seen, given) in arguments.iter().skip(2).zip(hostile()) {
        assert_eq!(unescaped(seen)?, given.as_bytes(), "{seen} was given as {given:?}");
    }
    assert_eq!(unescaped(&event["exe"]["path"])?, program.as_os_str().as_bytes(), "{event}");
    assert_eq!(event["exe"]["ino"], fs::metadata(&program)?.ino());
    held.finish(deadline(SOON))?;
    let stopped = agent.stop()?;
    // Reads all lines: each must be one JSON object.
    assert_eq!(stopped.records().findings("forged")?.len(), 0);
    assert_eq!(stopped.records().events("exec")?.len(), 1);
    let bytes = fs::read(stopped.records().path())?;
    let control = bytes.iter().find(|&&byte| byte != b'\n' && (byte < 0x20 || byte == 0x7f));
    assert_eq!(control, None, "a control byte in the file");
    Ok(())
}

#[test]
fn long_arguments_are_cut_and_said_to_be() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let program = place.copy("probe", "long")?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    let cases: [Vec<OsString>; 3] = [
        vec![OsString::from("x".repeat(100_000))],
        (0..20_000).map(|number| OsString::from(number.to_string())).collect(),
        vec![OsString::from("y".repeat(100_000)), OsStr::from_bytes(b"\xff").to_owned()],
    ];
    for arguments in cases {
        let held = hold(&program, &group, &arguments)?;
        let event = event(&agent, "exec", held.pid())?;
        assert_eq!(event["args_truncated"], true);
        let seen = event["args"].as_array().context("args")?;
        assert_eq!(seen[..2], [json!(program), json!("hold")]);
        for (index, (seen, given)) in seen[2..].iter().zip(&arguments).enumerate() {
            let (seen, given) = (seen.as_str().context("text")?, given.to_string_lossy());
            ensure!(
                given.starts_with(seen.trim_end_matches('…')),
                "argument {index} is no part of what was given"
            );
        }
        held.finish(deadline(SOON))?;
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn forks_and_exits_tell_of_children_and_codes() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let program = place.copy("probe", "forker")?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    let forker = Program::new(&program).arg("fork").with("count", "3").with("code", "7");
    let end = forker.inside(&group)?.finish(deadline(SOON))?;
    let children = end.json()?["pids"].as_array().context("pids")?.clone();
    event(&agent, "exit", end.pid)?;
    let mut held = hold(&program, &group, &[])?;
    held.signal(libc::SIGKILL)?;
    let killed = held.pid();
    held.finish(deadline(SOON))?;
    let killed = event(&agent, "exit", killed)?;
    assert_ne!(killed["exit_code"], 0, "killed by a signal: {killed}");
    let stopped = agent.stop()?;
    let records = stopped.records();
    let forks: Vec<_> = records.events("fork")?.into_iter().filter(|fork| fork["pid"] == end.pid).collect();
    let forked: Vec<_> = forks.iter().map(|fork| fork["child_pid"].clone()).collect();
    assert_eq!(forked, children, "in order, each once");
    for child in &children {
        let exits = records.matching(|record| record["kind"] == "exit" && record["pid"] == *child)?;
        let [exit] = exits.as_slice() else { bail!("{} exits of {child}", exits.len()) };
        assert_eq!((&exit["exit_code"], &exit["ppid"]), (&json!(7), &json!(end.pid)), "{exit}");
        assert_eq!(exit["exe"]["ino"], fs::metadata(&program)?.ino(), "{exit}");
    }
    Ok(())
}

fn check_end(event: &Value, end: SocketAddr, protocol: &str) {
    let family = if end.is_ipv4() { "ipv4" } else { "ipv6" };
    let expected = [
        ("addr", json!(end.ip().to_string())),
        ("port", json!(end.port())),
        ("protocol", json!(protocol)),
        ("family", json!(family)),
    ];
    for (key, value) in expected {
        assert_eq!(event[key], value, "{key} of {event}");
    }
}

#[test]
fn sockets_tell_both_ends_of_a_conversation() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let program = place.copy("probe", "talker")?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    let server = Program::new(&program).arg("serve").with("log", place.join("log"));
    let addresses = "127.0.0.1:0,[::1]:0";
    let mut server = server.with("tcp", addresses).with("udp", addresses).inside(&group)?.start()?;
    let bound = server.json_line(deadline(SOON))?;
    for protocol in ["tcp", "udp"] {
        for end in bound[protocol].as_array().context("addresses")? {
            let end: SocketAddr = end.as_str().unwrap_or_default().parse()?;
            let kinds: &[&str] = if protocol == "tcp" { &["bind", "listen"] } else { &["bind"] };
            for kind in kinds {
                let event =
                    agent.records().wait_for(&format!("{kind} of {end}"), deadline(SOON), |record| {
                        record["kind"] == *kind
                            && record["pid"] == server.pid()
                            && record["port"] == end.port()
                    })?;
                check_end(&event, end, protocol);
                check_process(&event, server.pid(), &program, 0, &group)?;
            }
            let client = Program::new(&program).arg("connect").with("to", end.to_string());
            let client = client.with("way", protocol).with("wait", "1").inside(&group)?;
            let mut client = client.start()?;
            client.json_line(deadline(SOON))?;
            let (parent, _) = stat(client.pid())?;
            client.tell("go")?;
            assert_eq!(client.json_line(deadline(SOON))?, json!({ "ok": 1 }));
            let event = event(&agent, "connect", client.pid())?;
            check_end(&event, end, protocol);
            assert_eq!((&event["ppid"], &event["exe"]["path"]), (&json!(parent), &json!(program)), "{event}");
            client.finish(deadline(SOON))?;
        }
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn the_agent_never_reports_itself() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let program = place.copy("probe", "other")?;
    // In its own scope, where everybody else is reported.
    let agent = Setup::new(Mode::Observe, &group).inside(&group).start()?;
    for _ in 0..20 {
        agent.metrics()?;
    }
    let held = hold(&program, &group, &[])?;
    event(&agent, "exec", held.pid())?;
    held.finish(deadline(SOON))?;
    let pid = agent.pid();
    let stopped = agent.stop()?;
    let records = stopped.records();
    let own = records.matching(|record| record["pid"] == pid || record["child_pid"] == pid)?;
    assert_eq!(own, Vec::<Value>::new());
    Ok(())
}

#[test]
fn what_happens_outside_of_the_scope_is_not_reported() -> Result<()> {
    let (place, group, other) = (Place::new()?, Cgroup::new()?, Cgroup::new()?);
    let program = place.copy("probe", "other")?;
    let agent = Setup::new(Mode::Observe, &group).start()?;
    let outside = hold(&program, &other, &[])?;
    let inside = hold(&program, &group, &[])?;
    event(&agent, "exec", inside.pid())?;
    let (outside_pid, inside_pid) = (outside.pid(), inside.pid());
    outside.finish(deadline(SOON))?;
    inside.finish(deadline(SOON))?;
    event(&agent, "exit", inside_pid)?;
    let stopped = agent.stop()?;
    let records = stopped.records();
    assert_eq!(records.matching(|record| record["pid"] == outside_pid)?, Vec::<Value>::new());
    Ok(())
}
