//! Exec rules: what may be run, and by whom. A file that a program creates with its first system call, and how
//! its process ended, are the oracle.

mod allow;
mod arguments;
mod limits;
mod scripts;
mod shapes;

use std::{
    fs, io,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup, doctor::security_hooks},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::{deadline, slowdown},
};

/// How many runs count as enough to see a race.
fn runs() -> u64 {
    if slowdown() > 1.0 { 300 } else { 2000 }
}

/// A service that starts programs, and another program that does the same.
struct Scene {
    place: Place,
    group: Cgroup,
    service: PathBuf,
    other: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let (service, other) = (place.copy("probe", "service")?, place.copy("probe", "other")?);
        place.directory("work")?;
        Ok(Self { group: Cgroup::new()?, service, other, place })
    }

    /// An agent with one rule named `rule`.
    fn agent(&self, mode: Mode, deny: &[&str], more: &str) -> Result<Agent<'static>> {
        let rules = format!(
            "[[workload]]\nname = \"service\"\nexe = [{:?}]\n\n\
             [[exec]]\nname = \"rule\"\ndeny = {deny:?}\n{more}\n",
            self.service
        );
        Setup::new(mode, &self.group).rules(&rules).start()
    }

    /// A program in the scope, in a working directory of its own.
    fn program(&self, path: &PathBuf) -> Result<Program> {
        Program::new(path).directory(&self.place.join("work")).inside(&self.group)
    }

    fn spawn(&self, by: &PathBuf, program: &PathBuf, count: u64) -> Result<Value> {
        let spawn = self.program(by)?.arg("spawn").with("program", program);
        spawn.with("count", count.to_string()).json(deadline(120.0))
    }

    fn made(&self) -> bool {
        fs::remove_file(self.place.join("work/made")).is_ok()
    }
}

fn ran(count: u64) -> Value {
    json!({ "started": { "ok": count }, "ended": { "code 0": count }, "made": count })
}

fn killed(count: u64) -> Value {
    json!({ "started": { "ok": count }, "ended": { "signal 9": count }, "made": 0 })
}

fn refused(count: u64) -> Value {
    json!({ "started": { "EPERM": count }, "ended": {}, "made": 0 })
}

#[test]
fn without_an_agent_a_program_leaves_its_file() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    assert_eq!(scene.spawn(&scene.service, &first, runs())?, ran(runs()));
    Ok(())
}

#[test]
fn a_killed_program_never_ran_its_first_instruction() -> Result<()> {
    for mode in Mode::BOTH {
        let scene = Scene::new()?;
        let first = scene.place.copy("first", "first")?;
        let deny = [first.to_str().context("a path")?];
        let agent = scene.agent(mode, &deny, "by = [\"service\"]\naction = \"kill\"")?;
        let expected = if mode == Mode::Enforce { killed(runs()) } else { ran(runs()) };
        assert_eq!(scene.spawn(&scene.service, &first, runs())?, expected, "{mode:?}");
        assert_eq!(scene.spawn(&scene.other, &first, 50)?, ran(50), "by another program, {mode:?}");
        let labels = [("rule", "rule"), ("verdict", "kill"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, runs() as f64, deadline(20.0))?;
        let finding =
            agent.records().wait_for("a finding", deadline(10.0), |record| record["type"] == "finding")?;
        let expected = [("rule_kind", "exec"), ("verdict", "kill"), ("mode", mode.name()), ("kind", "exec")];
        for (key, value) in expected {
            assert_eq!(finding[key], value, "{key} of {finding}");
        }
        assert_eq!(finding["exe"]["path"], deny[0], "{finding}");
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn patterns_mean_where_a_program_lies() -> Result<()> {
    let scene = Scene::new()?;
    let place = |name: &str| scene.place.copy("first", name);
    let (shell, tool) = (place("bin/mysh")?, place("bin/tool")?);
    let (deep, near) = (place("drop/a/b/c/deep")?, place("dropped")?);
    let (listed, unlisted) = (place("sbin/one")?, place("sbin/three")?);
    let base = scene.place.path().display();
    let deny = [format!("{base}/bin/*sh"), format!("{base}/drop/**"), format!("{base}/sbin/{{one,two}}")];
    let deny: Vec<&str> = deny.iter().map(String::as_str).collect();
    let cases =
        [(&shell, true), (&tool, false), (&deep, true), (&near, false), (&listed, true), (&unlisted, false)];
    for (program, _) in cases {
        assert_eq!(scene.spawn(&scene.service, program, 5)?, ran(5), "control: {}", program.display());
    }
    let agent = scene.agent(Mode::Enforce, &deny, "action = \"kill\"")?;
    for (program, denied) in cases {
        let expected = if denied { killed(5) } else { ran(5) };
        assert_eq!(scene.spawn(&scene.service, program, 5)?, expected, "{}", program.display());
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn programs_without_a_file_name_are_known_as_such() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let ways = [("@memfd", "memfd"), ("@deleted", "deleted"), ("@unplaced", "unplaced"), ("a file", "exec")];
    let run = |way: &str| -> Result<(Option<i32>, bool)> {
        let copy = scene.place.join("copy");
        let mount = scene.place.join("mount");
        let program = scene.program(&scene.service)?.arg(way).with("program", &first);
        let program = program.with("copy", copy).with("mount", mount);
        let end = program.finish(deadline(20.0))?;
        Ok((end.status.signal(), scene.made()))
    };
    for (_, way) in ways {
        assert_eq!(run(way)?, (None, true), "control: {way}");
    }
    for denied in ["@memfd", "@deleted", "@unplaced"] {
        let agent = scene.agent(Mode::Enforce, &[denied], "by = [\"service\"]\naction = \"kill\"")?;
        for (class, way) in ways {
            let expected = if class == denied { (Some(libc::SIGKILL), false) } else { (None, true) };
            assert_eq!(run(way)?, expected, "{denied} denied, {way}");
        }
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_denied_program_does_not_run_and_the_finding_says_how() -> Result<()> {
    let lsm = {
        let _turn = tests::agent::turn();
        security_hooks()?
    };
    let (outcome, verdict): (fn(u64) -> Value, _) = if lsm { (refused, "deny") } else { (killed, "kill") };
    for mode in Mode::BOTH {
        let scene = Scene::new()?;
        let first = scene.place.copy("first", "first")?;
        let deny = [first.to_str().context("a path")?];
        let agent = scene.agent(mode, &deny, "by = [\"service\"]\naction = \"deny\"")?;
        let expected = if mode == Mode::Enforce { outcome(200) } else { ran(200) };
        assert_eq!(scene.spawn(&scene.service, &first, 200)?, expected, "{mode:?}, LSM: {lsm}");
        assert_eq!(scene.spawn(&scene.other, &first, 50)?, ran(50), "by another program, {mode:?}");
        let labels = [("rule", "rule"), ("verdict", verdict), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, 200.0, deadline(20.0))?;
        agent.wait_for_metric("monitor_findings_total", &[("rule", "rule")], 200.0, deadline(1.0))?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn an_alert_lets_the_program_run() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let agent = scene.agent(Mode::Enforce, &[first.to_str().context("a path")?], "action = \"alert\"")?;
    assert_eq!(scene.spawn(&scene.service, &first, 20)?, ran(20));
    let labels = [("rule", "rule"), ("verdict", "alert"), ("mode", "enforce")];
    agent.wait_for_metric("monitor_findings_total", &labels, 20.0, deadline(20.0))?;
    agent.stop()?;
    Ok(())
}

#[test]
fn a_denied_program_stays_denied_under_another_name() -> Result<()> {
    type Rename = fn(&Path, &Path) -> io::Result<()>;
    let ways: [(&str, Rename); 3] = [
        ("linked", |from, to| fs::hard_link(from, to)),
        ("symlinked", |from, to| symlink(from, to)),
        ("renamed", |from, to| fs::rename(from, to)),
    ];
    for (what, rename) in ways {
        let scene = Scene::new()?;
        let (first, other) = (scene.place.copy("first", "first")?, scene.place.join("other name"));
        let deny = [first.to_str().context("a path")?];
        let agent = scene.agent(Mode::Enforce, &deny, "action = \"kill\"")?;
        assert_eq!(scene.spawn(&scene.service, &first, 5)?, killed(5), "before");
        rename(&first, &other)?;
        // Longer than the agent takes to look at its files again.
        let watched = deadline(3.0);
        while !watched.left().is_zero() {
            assert_eq!(scene.spawn(&scene.service, &other, 5)?, killed(5), "{what}");
        }
        agent.stop()?;
    }
    Ok(())
}
