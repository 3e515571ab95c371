//! Conditions on arguments: what the program is told, wherever in the list it stands.

use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    program::Program,
    wait::deadline,
};

use super::{Scene, killed, ran};

/// What the list may hold before its last argument: more than is read of it, in one piece and in many.
const PADDING: [(usize, usize); 4] = [(1, 1_100), (1, 100_000), (2_000, 1), (64, 1_000)];

fn cases() -> Vec<(String, Vec<OsString>, bool)> {
    let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
    let mut cases: Vec<(String, Vec<OsString>, bool)> = [
        (&[][..], false),
        (&["-x", "y"], false),
        (&["--dump"], true),
        (&["-x", "y", "--dump"], true),
        (&["before--dump-after"], true),
        (&["--dum", "p"], false),
        (&["--DUMP"], false),
        (&["--file="], true),
        (&["--file=/etc/a b/../c"], true),
        (&["x--file=/etc"], false),
        (&["--file"], false),
        (&["", "--dump"], true),
        (&["one-two-three"], true),
        (&["one-two-thre"], false),
    ]
    .iter()
    .map(|(list, denied)| (format!("{list:?}"), words(list), *denied))
    .collect();
    for (count, length) in PADDING {
        let mut list = vec![OsString::from("x".repeat(length)); count];
        let what = format!("{count} arguments of {length} bytes");
        // Nobody knows what else is there: a condition that can't be denied counts as met.
        cases.push((what.clone(), list.clone(), true));
        list.push("--dump".into());
        cases.push((format!("{what} and what is meant"), list, true));
    }
    cases
}

#[test]
fn a_rule_may_ask_for_arguments() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let free = scene.place.copy("first", "free")?;
    let spawn = |program, arguments: &[OsString]| -> Result<Value> {
        let spawn = scene.program(&scene.other)?.arg("spawn").with("program", program);
        spawn.with("count", "2").arg("--").args(arguments).json(deadline(20.0))
    };
    for (what, arguments, _) in cases() {
        assert_eq!(spawn(&first, &arguments)?, ran(2), "{what}, without an agent");
    }
    let rules = format!(
        "[[exec]]\nname = \"told so\"\ndeny = [{first:?}]\naction = \"kill\"\n\
         args = {{ contains = [\"--dump\"], glob = [\"--file=*\", \"one-*-three\"] }}\n"
    );
    for mode in Mode::BOTH {
        let agent = Setup::new(mode, &scene.group).rules(&rules).start()?;
        for (what, arguments, denied) in cases() {
            let expected = if denied && mode == Mode::Enforce { killed(2) } else { ran(2) };
            assert_eq!(spawn(&first, &arguments)?, expected, "{what}, {mode:?}");
        }
        assert_eq!(spawn(&free, &["--dump".into()])?, ran(2), "another program, {mode:?}");
        let denied = cases().iter().filter(|(_, _, denied)| *denied).count() * 2;
        let labels = [("rule", "told so"), ("verdict", "kill"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, denied as f64, deadline(10.0))?;
        let findings = agent.stop()?.records().findings("told so")?;
        let cut = findings.iter().filter(|finding| {
            let notes = finding["exe"]["notes"].as_array();
            notes.is_some_and(|notes| notes.contains(&json!("args_truncated")))
        });
        assert_eq!(cut.count(), PADDING.len() * 4, "findings that say that more was there, {mode:?}");
    }
    Ok(())
}

/// The 0th argument is a name that the caller chose, not something that the program is told.
#[test]
fn the_name_of_a_program_is_no_argument() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let rules = format!(
        "[[exec]]\nname = \"told so\"\ndeny = [{first:?}]\naction = \"kill\"\nargs = {{ contains = [\"--dump\"] }}\n"
    );
    let run = |name: &str, arguments: &[&str]| -> Result<bool> {
        let program: Program = scene.program(&scene.other)?.arg("exec").with("program", &first);
        let program = program.with("name", OsStr::new(name)).arg("--").args(arguments);
        program.finish(deadline(20.0)).context("running the program")?;
        Ok(scene.made())
    };
    assert!(run("--dump", &[])?, "without an agent");
    let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules).start()?;
    assert!(run("--dump", &[])?, "as the name");
    assert!(!run("--dump", &["--dump"])?, "as an argument");
    assert!(!run("", &["--dump"])?, "as an argument behind no name");
    agent.stop()?;
    Ok(())
}
