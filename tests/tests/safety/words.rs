//! Text that others chose, where the agent shows it: no name can break what it is shown in, and no secret gets there.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    needs,
    place::Place,
    program::Program,
    wait::deadline,
};

/// What a program calls itself: a line of its own, terminal sequences, quotes, no UTF-8, text from right to left.
const NAME: &[u8] = b"x\n2026-11-29 FORGED\r\x1b]0;FORGED\x07\x1b[2J\"'\\{}\xff\xc3\xe2\x80\xae\xe2\x80\xa9y";
/// The same for a cgroup, whose name has to be UTF-8 here and may have no line end.
const GROUP: &str = "x\r\u{1b}[2J\"'\\{}\u{202e}\u{2029}FORGED.service";

const SECRETS: [&str; 4] = [
    "--password=hunter2",
    "postgres://eve:hunter2@db/orders",
    "PGPASSWORD='hunter2' psql",
    "{\"api_key\": \"hunter2\"}",
];

/// Nothing in a text shown does anything but stand there.
fn plain(text: &str) -> Result<()> {
    let acts = |c: char| {
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{200f}')
    };
    let found = text.lines().find(|line| line.chars().any(acts));
    ensure!(found.is_none(), "it isn't plain: {found:?}");
    Ok(())
}

fn hostile_copy(place: &Place) -> Result<PathBuf> {
    let path = place.path().join(OsStr::from_bytes(NAME));
    fs::copy(needs::program("probe")?, &path)?;
    Ok(path)
}

#[test]
fn names_of_others_break_nothing_they_are_shown_in() -> Result<()> {
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let inner = group.below(GROUP)?;
    let program = hostile_copy(&place)?;
    // A finding and events, in a file for programs and on the output for people.
    let rules = "[[sink]]\ntype = \"stdout\"\nformat = \"text\"\nevents = true\n\
                 [[exec]]\nname = \"told\"\ndeny = [\"/**/x*\"]\naction = \"alert\"\n";
    let mut agent = Setup::new(Mode::Enforce, &group).rules(rules).start()?;
    let held = Program::new(&program).arg("hold").arg(OsStr::from_bytes(NAME)).inside(&inner)?.start()?;
    let soon = deadline(20.0);
    let found = agent.records().wait_for("the finding", soon, |record| {
        record["type"] == "finding" && record["rule"].to_string().contains("told")
    })?;
    ensure!(found.to_string().contains("FORGED"), "{found:#?}");
    // Every line there is: each is one JSON object, which `Records` sees to, and plain.
    let text = fs::read_to_string(agent.records().path())?;
    text.lines().try_for_each(plain)?;
    let line = loop {
        let line = agent.line(soon)?;
        plain(&line)?;
        ensure!(!line.trim_start().starts_with("2026-11-29 FORGED"), "a forged line");
        if line.contains(&held.pid().to_string()) && line.contains("told") {
            break line;
        }
    };
    ensure!(line.contains("FORGED"), "{line}");
    // The metrics are read by a strict reader, and no name of others is a label.
    agent.metrics()?;
    ensure!(!agent.get("/metrics")?.1.contains("FORGED"), "a name is in the metrics");
    let log = agent.stop()?.stderr;
    log.lines().try_for_each(plain)
}

#[test]
fn secrets_on_command_lines_are_shown_nowhere() -> Result<()> {
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let program = place.copy("probe", "client")?;
    let rules = "[[sink]]\ntype = \"stdout\"\nformat = \"text\"\nevents = true\n\
                 [[exec]]\nname = \"told\"\ndeny = [\"/**/client\"]\naction = \"alert\"\n";
    let hold = |program: &Path, last: &str| {
        Program::new(program)
            .arg("hold")
            .args(SECRETS)
            .args(["--token", "hunter2", last])
            .inside(&group)?
            .start()
    };
    // One that is older than the agent, of which `/proc` tells.
    let before = hold(&program, "before")?;
    let mut agent = Setup::new(Mode::Enforce, &group).rules(rules).start()?;
    let after = hold(&program, "after")?;
    let soon = deadline(20.0);
    let shows = |pid: u32, kind: &str| {
        let (kind, pid) = (kind.to_owned(), u64::from(pid));
        agent
            .records()
            .wait_for("the event", soon, move |record| record["kind"] == *kind && record["pid"] == pid)
    };
    shows(after.pid(), "exec")?;
    let pid = before.pid();
    drop(before);
    shows(pid, "exit")?;
    let mut lines = fs::read_to_string(agent.records().path())?;
    while !lines.contains("told by text") {
        let line = agent.line(soon)?;
        lines.push_str(&line);
        if line.contains("told") {
            lines.push_str("told by text");
        }
    }
    lines.push_str(&agent.stop()?.stderr);
    ensure!(!lines.contains("hunter2"), "a secret is shown:\n{lines}");
    for shown in [
        "--password=[redacted]",
        "postgres://eve:[redacted]@db/orders",
        "PGPASSWORD='[redacted]' psql",
        "after",
    ] {
        ensure!(lines.contains(shown), "{shown} is not:\n{lines}");
    }
    drop(after);

    // Whoever wants to see them does.
    let agent = Setup::new(Mode::Observe, &group).redact("\"off\"").start()?;
    let held = hold(&program, "open")?;
    agent.records().wait_for("the event", deadline(20.0), |record| {
        record["kind"] == "exec" && record["pid"] == held.pid() && record.to_string().contains("hunter2")
    })?;
    agent.stop()?;
    Ok(())
}
