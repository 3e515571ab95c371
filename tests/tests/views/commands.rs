//! `monitor status` and `monitor events`.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::deadline,
};

const RULE: &str =
    "[[exec]]\nname = \"no-true\"\ndeny = [\"/usr/bin/true\", \"/bin/true\"]\naction = \"alert\"\n";

fn monitor(agent: &Agent<'_>, arguments: &[&str]) -> Result<Program> {
    Ok(Program::monitor()?.args(arguments).arg("--run-dir").arg(agent.run_directory()))
}

#[test]
fn status_says_how_the_agent_is_and_that_none_runs() -> Result<()> {
    let place = Place::new()?;
    let nobody = Program::monitor()?.args(["status", "--run-dir"]).arg(place.join("run"));
    let nobody = nobody.finish(deadline(60.0))?;
    ensure!(
        nobody.status.code() == Some(2) && nobody.stderr.contains("no agent runs here"),
        "{}",
        nobody.stderr
    );

    let scope = Cgroup::new()?;
    let agent = Setup::new(Mode::Observe, &scope).rules(RULE).start()?;
    Program::new("/usr/bin/true").inside(&scope)?.finish(deadline(30.0))?;
    tests::wait::eventually("a healthy agent that counted the program", deadline(30.0), || {
        let status = monitor(&agent, &["status", "--json"])?.finish(deadline(60.0))?;
        let said: Value = status.json()?;
        ensure!(said["running"] == true && said["policy"]["mode"] == "observe", "{said}");
        ensure!(said["pid"] == agent.pid(), "{said}");
        let rules = said["rules"].as_array().context("no rules")?;
        Ok(rules.iter().any(|rule| rule["rule"] == "no-true" && rule["count"] == 1).then_some(()))
    })?;
    let people = monitor(&agent, &["status"])?.finish(deadline(60.0))?;
    ensure!(people.stdout.join("\n").contains("observe mode, generation 1"), "{:?}", people.stdout);
    agent.stop().map(drop)
}

#[test]
fn events_tell_what_happened_and_follow_what_happens() -> Result<()> {
    let scope = Cgroup::new()?;
    let agent = Setup::new(Mode::Observe, &scope).rules(RULE).start()?;
    let mut following = monitor(&agent, &["events", "--follow", "--json", "--rule", "no-true"])?.start()?;
    let mut pids = Vec::new();
    for _ in 0..3 {
        let program = Program::new("/usr/bin/true").inside(&scope)?.start()?;
        pids.push(u64::from(program.pid()));
        program.finish(deadline(30.0))?;
    }
    for pid in &pids {
        let line: Value = serde_json::from_str(&following.line(deadline(30.0))?)?;
        ensure!(line["finding"]["rule"] == "no-true" || line["rule"] == "no-true", "{line}");
        ensure!(line.to_string().contains(&format!("\"pid\":{pid}")), "{pid}: {line}");
    }
    following.kill_and_tell();
    // Later they are all there still, and a filter leaves out the rest.
    let kept = monitor(&agent, &["events", "--kind", "exec", "--exe", "/true", "--since", "1h"])?;
    let kept = kept.finish(deadline(60.0))?;
    ensure!(kept.stdout.iter().filter(|line| line.contains("no-true")).count() == 3, "{:?}", kept.stdout);
    ensure!(!kept.stdout.concat().contains('\u{1b}'), "colours outside of a terminal");
    let wrong = monitor(&agent, &["events", "--kind", "exce"])?.finish(deadline(60.0))?;
    ensure!(wrong.status.code() == Some(1) && wrong.stderr.contains("there is no kind"), "{}", wrong.stderr);
    agent.stop().map(drop)
}
