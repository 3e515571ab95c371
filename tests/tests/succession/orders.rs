//! What people order: another policy for good or on trial, another mode, an end.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    program::Program,
    wait::{deadline, eventually},
};

use super::Scene;

/// Seconds of a trial that is to be confirmed, or given up.
const LONG: &str = "10m";
/// Of one that ends by itself.
const SHORT: &str = "3s";

fn done(program: Program) -> Result<String> {
    let done = program.finish(deadline(60.0))?;
    ensure!(done.status.code() == Some(0), "{}: {:?}{}", done.status, done.stdout, done.stderr);
    Ok(done.stdout.join("\n"))
}

fn refused(program: Program, words: &[&str]) -> Result<()> {
    let refused = program.finish(deadline(60.0))?;
    assert_eq!(refused.status.code(), Some(1), "{:?}", refused.stdout);
    for word in words {
        ensure!(refused.stderr.contains(word), "{word:?} isn't said: {}", refused.stderr);
    }
    Ok(())
}

/// Puts in force what denies nothing.
fn free(agent: &Agent<'_>, rules: &str, trial: Option<&str>) -> Result<String> {
    let file = agent.another("free.toml", |text| text.replace(rules, ""))?;
    let mut program = agent.order(&["apply"])?.arg(file);
    if let Some(trial) = trial {
        program = program.arg("--confirm-within").arg(trial);
    }
    done(program)
}

fn is_denied(scene: &Scene, tag: &str) -> Result<()> {
    let persist = scene.persist(tag)?;
    let (execs, connects) = scene.denied_only(persist, tag)?;
    ensure!(execs + connects > 0, "nothing was tried");
    Ok(())
}

/// Tries until it is denied, under another name each time: what got through before stays in the server's log.
fn until_denied(scene: &Scene, tag: &str) -> Result<()> {
    let mut turn = 0;
    eventually("the policy before", deadline(20.0), || {
        turn += 1;
        Ok(is_denied(scene, &format!("{tag} {turn}")).ok())
    })
}

#[test]
fn a_policy_on_trial_goes_when_nobody_confirms_it() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    let said = free(&agent, &scene.rules(), Some(SHORT))?;
    ensure!(said.contains("confirm"), "{said}");
    assert!(scene.passes("on trial")?);
    until_denied(&scene, "before")?;
    refused(agent.order(&["confirm"])?, &["no policy is on trial"])?;
    // It can be tried once more.
    free(&agent, &scene.rules(), Some(LONG))?;
    assert!(scene.passes("once more")?);
    refused(agent.order(&["mode", "observe"])?, &["on trial"])?;
    done(agent.order(&["rollback"])?)?;
    is_denied(&scene, "rolled back")?;
    let findings = [("rule", "denied"), ("mode", "enforce")];
    ensure!(agent.metrics()?.sum("monitor_findings_total", &findings) > 0.0);
    let stopped = agent.stop()?;
    ensure!(stopped.stderr.contains("nobody confirmed"), "{}", stopped.stderr);
    assert!(scene.passes("after")?);
    Ok(())
}

#[test]
fn a_policy_on_trial_goes_without_an_agent_too() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    free(&agent, &scene.rules(), Some(SHORT))?;
    assert!(scene.passes("on trial")?);
    let gone = agent.kill()?;
    until_denied(&scene, "alone")?;
    let agent = gone.start()?;
    is_denied(&scene, "with the next")?;
    agent.stop()?;
    assert!(scene.passes("after")?);
    Ok(())
}

#[test]
fn a_policy_that_is_confirmed_stays() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    free(&agent, &scene.rules(), Some("4s"))?;
    done(agent.order(&["confirm"])?)?;
    let begun = Instant::now();
    let mut turn = 0;
    while begun.elapsed().as_secs_f64() < 5.0 {
        assert!(scene.passes(&format!("confirmed {turn}"))?);
        turn += 1;
    }
    // Back to the one before, without a trial.
    done(agent.order(&["rollback"])?)?;
    is_denied(&scene, "before")?;
    let gone = agent.kill()?;
    is_denied(&scene, "alone")?;
    gone.start()?.stop()?;
    Ok(())
}

#[test]
fn a_file_that_cannot_be_in_force_is_refused_with_the_reason() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    refused(agent.order(&["apply"])?.arg("/nowhere.toml"), &["/nowhere.toml"])?;
    let file = agent.another("bad.toml", |text| text.replace("deny = ", "denny = "))?;
    refused(agent.order(&["apply"])?.arg(file), &["denny", "deny"])?;
    let file =
        agent.another("nobody.toml", |text| text.replace("deny = ", "user = [\"nobody-here\"]\ndeny = "))?;
    refused(agent.order(&["apply"])?.arg(file), &["nobody-here"])?;
    refused(agent.order(&["rollback"])?, &["no policy before"])?;
    refused(
        agent.order(&["mode", "observe", "nothing of this name"])?,
        &["nothing of this name", "denied", "orders"],
    )?;
    is_denied(&scene, "still")?;
    agent.stop()?;
    Ok(())
}

#[test]
fn the_mode_is_switched_for_one_rule_and_for_all() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    done(agent.order(&["mode", "observe", "denied"])?)?;
    let persist = scene.persist("one rule")?;
    let said = persist.finish(deadline(30.0))?.json()?;
    let connects = said["connects"].as_object().context("no outcomes")?;
    ensure!(connects.keys().all(|key| key == "EPERM"), "the other rule enforces: {said}");
    let observed = [("rule", "denied"), ("mode", "observe")];
    scene.run_denied(3)?;
    eventually("findings in observe mode", deadline(10.0), || {
        Ok((agent.metrics()?.sum("monitor_findings_total", &observed) >= 3.0).then_some(()))
    })?;
    assert_eq!(scene.server.arrived(Some("one rule"))?, 0, "the other rule enforces");
    done(agent.order(&["mode", "observe"])?)?;
    assert!(scene.passes("all")?);
    done(agent.order(&["mode", "enforce"])?)?;
    is_denied(&scene, "none")?;
    agent.stop()?;
    Ok(())
}

#[test]
fn an_agent_is_stopped_with_or_without_what_is_in_force() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.setup().start()?;
    let stop = |run: &Path, pins: &Path, more: &[&str]| -> Result<String> {
        let stop = Program::monitor()?.arg("stop").args(more).arg("--run-dir").arg(run);
        done(stop.arg("--pin-dir").arg(pins))
    };
    let run = agent.run_directory();
    stop(&run, Path::new("/nowhere"), &["--keep"])?;
    let gone = agent.ended()?;
    is_denied(&scene, "kept")?;
    let agent = gone.start()?;
    is_denied(&scene, "again")?;
    let gone = agent.kill()?;
    let said = stop(&gone.run_directory(), &gone.pins(), &[])?;
    ensure!(said.contains("taken off"), "{said}");
    assert!(scene.passes("taken off")?);
    let said = stop(&gone.run_directory(), &gone.pins(), &[])?;
    ensure!(said.contains("none has left"), "{said}");
    let agent = gone.start()?;
    is_denied(&scene, "third")?;
    stop(&agent.run_directory(), Path::new("/nowhere"), &[])?;
    agent.ended()?;
    assert!(scene.passes("stopped")?);
    Ok(())
}
