//! What exec rules are known not to hold, and whom they leave alone.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use tests::{
    agent::{Agent, Mode, Setup},
    life::Life,
    place::Place,
    wait::{deadline, eventually},
};

use super::{Scene, killed, ran};

const SHELL: &str = "/bin/sh";

/// An allow-list holds files, not what an allowed interpreter is told to do.
#[test]
fn an_interpreter_that_is_allowed_runs_whatever_it_is_told() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let code = |code: &str| -> Result<(Option<i32>, bool)> {
        let program = scene.program(&scene.service)?.arg("exec").with("program", SHELL);
        let end = program.args(["--", "-c", code]).finish(deadline(20.0))?;
        Ok((end.status.code(), scene.made()))
    };
    if !Path::new(SHELL).exists() {
        println!("no {SHELL}");
        return Ok(());
    }
    assert_eq!(code(": > made")?, (Some(0), true), "without an agent");
    let rules = format!(
        "[[workload]]\nname = \"service\"\nexe = [{:?}]\ndescendants = true\n\n\
         [[exec]]\nname = \"only a shell\"\nby = [\"service\"]\nallow = [{SHELL:?}]\naction = \"kill\"\n",
        scene.service
    );
    let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules).start()?;
    assert_eq!(code(": > made")?, (Some(0), true), "its own code");
    let (_, made) = code(&format!("exec {}", first.display()))?;
    assert!(!made, "a program that isn't listed");
    agent.stop()?;
    Ok(())
}

/// While no agent runs, rules hold the files that were there when the last one looked.
#[test]
fn a_program_replaced_while_no_agent_runs_is_another_until_the_next_looks() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let deny = [first.to_str().context("a path")?];
    let agent = scene.agent(Mode::Enforce, &deny, "action = \"kill\"")?;
    assert_eq!(scene.spawn(&scene.service, &first, 3)?, killed(3), "while an agent runs");
    let gone = agent.kill()?;
    assert_eq!(scene.spawn(&scene.service, &first, 3)?, killed(3), "the same file without an agent");
    let fresh = scene.place.copy("first", "fresh")?;
    fs::rename(&fresh, &first)?;
    assert_eq!(scene.spawn(&scene.service, &first, 3)?, ran(3), "another file without an agent");
    let agent: Agent = gone.start()?;
    assert_eq!(scene.spawn(&scene.service, &first, 3)?, killed(3), "with the next agent");
    agent.stop()?;
    Ok(())
}

/// Programs that the kernel itself starts are reported and never stopped, also by a rule that denies everything everywhere. Only in a
/// guest: the helpers are the whole machine's, and so is the rule.
#[test]
fn helpers_of_the_kernel_run_under_a_rule_that_denies_everything() -> Result<()> {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";
    const MODPROBE: &str = "/proc/sys/kernel/modprobe";
    if fs::read_to_string("/proc/1/comm")?.trim() != "guest-init" {
        println!("this machine's own helpers are not for tests: run it in a guest");
        return Ok(());
    }
    // Helpers begin in the root directory.
    let made = || fs::remove_file("/made").is_ok();
    let scene = Scene::new()?;
    let place = Place::new()?;
    let (first, helper) = (scene.place.copy("first", "first")?, place.copy("first", "helper")?);
    fs::write(PATTERN, format!("|{}", helper.display()))?;
    fs::write(MODPROBE, helper.display().to_string())?;
    let crash = |life: Life| -> Result<()> {
        // SAFETY: takes no pointers; a child of this process.
        ensure!(unsafe { libc::kill(life.pid() as i32, libc::SIGABRT) } == 0);
        eventually("what handles the core dump", deadline(20.0), || Ok(made().then_some(())))
    };
    let ask = |family: i32| -> Result<()> {
        // SAFETY: takes no pointers. No kernel has this family built in; it asks for its module.
        let socket = unsafe { libc::socket(family, libc::SOCK_STREAM, 0) };
        ensure!(socket == -1, "family {family} is there");
        eventually("what loads modules", deadline(20.0), || Ok(made().then_some(())))
    };
    crash(Life::start(scene.program(&scene.service)?)?).context("without an agent")?;
    ask(libc::AF_ROSE).context("without an agent")?;
    let life = Life::start(scene.program(&scene.service)?)?;
    let rules = "[[exec]]\nname = \"nothing\"\ndeny = [\"/**\"]\nforce = true\n";
    let agent = Setup::new(Mode::Enforce, &scene.group).everywhere().rules(rules).start()?;
    crash(life)?;
    ask(libc::AF_ROSE)?;
    let found = agent.records().wait_for("the helper's finding", deadline(10.0), |record| {
        record["type"] == "finding" && record["exe"]["path"] == helper.display().to_string()
    })?;
    ensure!(found["mode"] == "observe", "it was only reported: {found}");
    // The rule does hold for others: this process itself may start nothing.
    let denied = std::process::Command::new(&first).current_dir("/").status();
    ensure!(!made(), "the program ran: {denied:?}");
    agent.stop()?;
    Ok(())
}
