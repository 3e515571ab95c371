//! Who may ask: root, and the members of one group.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::{Agent, Mode},
    program::{Finished, Program},
    wait::deadline,
};

use crate::rate_limit::scene::Scene;

/// Ids that no account of a distribution has.
const USER: u32 = 64_321;
const GROUP: u32 = 64_322;
const OTHER: u32 = 64_323;

/// An agent that takes bans, whose run directory anybody may enter, as the machine's own.
fn agent<'a>(scene: &'a Scene, control: &str) -> Result<Agent<'a>> {
    let limit = "protocol = \"udp\"\npackets = \"500/s\"";
    let agent = scene.setup("auto", Mode::Observe, &["s0", "s1"], limit).settings(control).start()?;
    let run = agent.run_directory();
    let place = run.parent().context("no parent")?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    Ok(agent)
}

/// `monitor ban` by somebody with one group.
fn ban(agent: &Agent<'_>, group: Option<u32>, arguments: &[&str]) -> Result<Finished> {
    // Somebody else can't execute what lies below root's own directory.
    let program = copy(agent)?;
    let mut ban =
        Program::new(program).arg("ban").arg("--run-dir").arg(agent.run_directory()).args(arguments);
    ban = ban.user(USER);
    if let Some(group) = group {
        ban = ban.group(group);
    }
    ban.finish(deadline(60.0))
}

fn copy(agent: &Agent<'_>) -> Result<PathBuf> {
    let path = agent.run_directory().join("monitor");
    if !path.exists() {
        fs::copy(tests::needs::monitor()?, &path)?;
    }
    Ok(path)
}

fn refused(finished: &Finished, words: &str) -> Result<()> {
    let said = &finished.stderr;
    ensure!(finished.status.code() == Some(1) && said.contains(words), "{}: {said}", finished.status);
    Ok(())
}

#[test]
fn without_a_group_only_root_may_ask() -> Result<()> {
    let scene = Scene::new()?;
    let agent = agent(&scene, "")?;
    let socket = fs::metadata(agent.run_directory().join("control.sock"))?;
    ensure!(socket.mode() & 0o777 == 0o600, "{:o}", socket.mode());
    for group in [None, Some(GROUP)] {
        refused(&ban(&agent, group, &["list"])?, "Permission denied")?;
    }
    // Root is not the group's, and the ids count that the kernel knows: with the door open, credentials decide.
    fs::set_permissions(agent.run_directory().join("control.sock"), fs::Permissions::from_mode(0o666))?;
    for group in [None, Some(0), Some(GROUP)] {
        refused(&ban(&agent, group, &["list"])?, "user 64321 is not root")?;
    }
    agent.wait_for_metric(
        "monitor_control_requests_total",
        &[("outcome", "refused")],
        3.0,
        deadline(10.0),
    )?;
    agent.stop().map(drop)
}

#[test]
fn a_member_of_the_group_may_look_and_change_only_if_told_so() -> Result<()> {
    for changes in [false, true] {
        let scene = Scene::new()?;
        let agent = agent(&scene, &format!("[control]\ngroup = {GROUP}\nchanges = {changes}\n"))?;
        let path = agent.run_directory().join("control.sock");
        let socket = fs::metadata(&path)?;
        ensure!((socket.mode() & 0o777, socket.gid()) == (0o660, GROUP), "{:o}", socket.mode());
        let listed = ban(&agent, Some(GROUP), &["list", "--json"])?;
        ensure!(listed.json()?.as_array().is_some_and(Vec::is_empty));
        for group in [None, Some(OTHER)] {
            refused(&ban(&agent, group, &["list"])?, "Permission denied")?;
        }
        let added = ban(&agent, Some(GROUP), &["add", "192.0.2.1"])?;
        if changes {
            ensure!(added.status.success(), "{}", added.stderr);
        } else {
            refused(&added, "may only look")?;
        }
        let by_root = Program::monitor()?.args(["ban", "--run-dir"]).arg(agent.run_directory());
        let bans = by_root.args(["list", "--json"]).json(deadline(60.0))?;
        ensure!(bans.as_array().map(Vec::len) == Some(usize::from(changes)), "{bans}");
        // With the door open to all, credentials still decide.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        refused(&ban(&agent, Some(OTHER), &["list"])?, "neither root nor in group 64322")?;
        agent.stop()?;
    }
    Ok(())
}
