//! What the clients try, one row each.

use std::{os::unix::process::ExitStatusExt, path::Path};

use anyhow::Result;
use serde_json::Value;
use tests::{
    agent::Agent,
    interrupt, needs,
    program::{Finished, Program},
    wait::deadline,
};

use crate::{
    table::{Table, Tone},
    world::{CALM, CONNECTIONS, FLOOD, World},
};

/// Seconds that the flood goes on.
const SECONDS: u32 = 4;
/// Connection attempts a second of the flood, and of the calm client beside it.
const FLOOD_RATE: u32 = 500;
const CALM_RATE: u32 = 10;

/// What this kernel lets the agent do, as far as the demo shows it.
pub fn capabilities(agent: &Agent<'_>) -> Result<String> {
    let metrics = agent.metrics()?;
    let attached = metrics.series("monitor_attach_info");
    let how: Vec<String> = attached
        .iter()
        .filter_map(|sample| {
            let (interface, mode) = (sample.labels.get("interface")?, sample.labels.get("mode")?);
            Some(format!("interface {interface} ({mode})"))
        })
        .collect();
    Ok(format!("Ready; packets are judged on {}; process {}.", how.join(", "), agent.pid()))
}

/// All rows, in order.
pub fn all(world: &World, agent: &Agent<'_>, table: &Table) -> Result<()> {
    let acts = [database, strangers, service, flood];
    for act in acts {
        interrupt::check()?;
        act(world, agent, table)?;
    }
    Ok(())
}

/// The allowed client, and a copy of it.
fn database(world: &World, agent: &Agent<'_>, table: &Table) -> Result<()> {
    let allowed = world.allowed();
    let name = allowed.file_name().unwrap_or_default().display().to_string();
    for (what, program) in [
        (format!("{name}: reads the orders"), allowed.as_path()),
        (format!("a copy of {name} in another place: reads the orders"), world.copied()),
    ] {
        let end = world.read_orders(program)?;
        row(agent, table, &what, &end, ending(&end))?;
    }
    Ok(())
}

/// Another program of the host that can open connections, whichever there is.
fn strangers(world: &World, agent: &Agent<'_>, table: &Table) -> Result<()> {
    let to = world.database_address();
    let (host, port) = (to.ip(), to.port());
    let python = format!("import socket; socket.create_connection((\"{host}\", {port}))");
    let bash = format!("exec 3<>/dev/tcp/{host}/{port}");
    let scripts = [
        ("/usr/bin/python3", "-c", python.as_str(), "python3: socket.create_connection"),
        ("/usr/bin/bash", "-c", bash.as_str(), "bash: opens /dev/tcp to the database"),
        ("/bin/bash", "-c", bash.as_str(), "bash: opens /dev/tcp to the database"),
    ];
    let found = scripts.iter().find(|(path, ..)| Path::new(path).is_file());
    let (program, what) = match found {
        Some((path, flag, script, what)) => (Program::new(path).args([flag, script]), *what),
        None => {
            let probe = Program::probe()?.arg("connect").with("to", to.to_string());
            (probe, "another program: connects to the database")
        }
    };
    let end = world.stranger(program)?;
    row(agent, table, what, &end, ending(&end))
}

/// The service runs what it may, a shell, and a program that is in no file.
fn service(world: &World, agent: &Agent<'_>, table: &Table) -> Result<()> {
    let first = needs::program("first")?;
    let (first, from) =
        (first.display().to_string(), format!("program={}", first_of(&["/usr/bin/true", "/bin/true"])));
    let in_memory = format!("program={first}");
    let acts = [
        ("a service: runs /usr/bin/true", vec!["exec", &from]),
        ("the service: runs sh -c 'id >made'", vec!["exec", "program=/bin/sh", "--", "-c", "id >made"]),
        ("the service: runs a program from memory", vec!["memfd", &in_memory]),
    ];
    for (what, words) in acts {
        interrupt::check()?;
        let (end, made) = world.serve(&words)?;
        let mut ending = ending(&end);
        if what.contains("the service") {
            ending.push_str(if made { "; it wrote its file" } else { "; no file was written" });
        }
        row(agent, table, what, &end, ending)?;
    }
    Ok(())
}

fn first_of(paths: &[&'static str]) -> &'static str {
    paths.iter().copied().find(|path| Path::new(path).is_file()).unwrap_or("/proc/self/exe")
}

/// A flood of connections beside a calm client.
fn flood(world: &World, agent: &Agent<'_>, table: &Table) -> Result<()> {
    let calm = world.visitor(CALM, CALM_RATE * SECONDS, CALM_RATE)?.start()?;
    let flood = world.visitor(FLOOD, FLOOD_RATE * SECONDS, FLOOD_RATE)?.json(deadline(30.0))?;
    let calm = calm.finish(deadline(30.0))?.json()?;
    let (calm, flood) = (count(&calm), count(&flood));
    world.web().wait_for("", calm + flood, deadline(10.0))?;
    let calm_sent = CALM_RATE * SECONDS;
    let tone = if calm == u64::from(calm_sent) { Tone::Passed } else { Tone::Stopped };
    let what = format!("a calm web client: {CALM_RATE} connections a second for {SECONDS} s");
    table.row(tone, [&what, &format!("{calm} of {calm_sent} reached the server"), "nothing"]);
    let what = format!("a flood beside it: {FLOOD_RATE} connections a second for {SECONDS} s");
    let due = CONNECTIONS * (SECONDS + 1);
    let ending = format!("{flood} of {} reached the server (limit + burst: {due})", FLOOD_RATE * SECONDS);
    let said = agent.records().wait_for("the finding", deadline(5.0), |record| {
        record["type"] == "finding" && record["rule_kind"] == "rate_limit"
    });
    let dropped =
        agent.metrics()?.sum("monitor_packets_total", &[("rule", "web per client"), ("verdict", "drop")]);
    let said =
        format!("{}; {dropped} packets counted as dropped", said.as_ref().map_or("nothing".into(), line));
    table.row(Tone::Stopped, [&what, &ending, &said]);
    Ok(())
}

fn count(outcome: &Value) -> u64 {
    outcome["ok"].as_u64().unwrap_or_default()
}

/// A row about one process: what the agent said is the finding with its pid.
fn row(agent: &Agent<'_>, table: &Table, what: &str, end: &Finished, ending: String) -> Result<()> {
    let went_well = end.status.success() && !end.stdout.iter().any(|line| line.contains("EPERM"));
    // A finding comes right after what it tells of; its absence can only be seen by waiting for it a little.
    let patience = deadline(if went_well { 0.3 } else { 5.0 });
    let found = agent
        .records()
        .wait_for("a finding", patience, |record| record["type"] == "finding" && record["pid"] == end.pid);
    let said = match &found {
        Ok(finding) => line(finding),
        Err(_) => "nothing".to_owned(),
    };
    let tone = if went_well { Tone::Passed } else { Tone::Stopped };
    table.row(tone, [what, &ending, &said]);
    Ok(())
}

/// A finding in a few words.
fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or("?").to_owned();
    format!("{} by rule \"{}\": {}", text("verdict"), text("rule"), text("why"))
}

/// How a process ended, as its parent and its user see it.
fn ending(end: &Finished) -> String {
    let lines = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let said = end.stdout.join(" ");
    let last_words = lines(&end.stderr);
    // What is left of a long message of a program: its end says why.
    let reason = last_words.rsplit(": ").next().unwrap_or_default();
    match (end.status.code(), end.status.signal()) {
        (Some(0), _) if said.is_empty() => "exit 0".to_owned(),
        (Some(0), _) => format!("exit 0: {said}"),
        (Some(code), _) if reason.is_empty() => format!("exit {code}: {said}"),
        (Some(code), _) => format!("exit {code}: {reason}"),
        (None, Some(libc::SIGKILL)) => "killed (SIGKILL)".to_owned(),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    }
}
