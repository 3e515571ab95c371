//! Whatever shape an exec has, the right process is judged, once.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    life::Life,
    program::Finished,
    wait::deadline,
};

use super::Scene;

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// A program that needs the loader.
const DYNAMIC: &str = "/usr/bin/true";

/// How a program was ended, also when a child of the launcher was.
fn killed(end: &Finished) -> bool {
    end.status.signal() == Some(libc::SIGKILL) || end.status.code() == Some(128 + libc::SIGKILL)
}

/// Leads a life to its last step, which runs `first`; whether that left its file, and how it ended.
fn live(scene: &Scene, program: &PathBuf, steps: &[&str], last: &str) -> Result<(bool, Finished)> {
    let mut life = Life::start(scene.program(program)?)?;
    for step in steps {
        life.tell(step)?;
    }
    let end = life.tell_last(last)?;
    Ok((scene.made(), end))
}

/// The shapes, with the file that is run in each.
fn shapes(scene: &Scene, first: &Path) -> Vec<(&'static str, Vec<&'static str>, String)> {
    let (first, copy) = (first.display(), scene.place.join("copy"));
    vec![
        ("in place", vec![], format!("exec program={first}")),
        ("in a child", vec!["fork"], format!("exec program={first}")),
        ("in an orphan", vec!["fork how=double"], format!("exec program={first}")),
        ("in a sibling", vec!["fork", "fork how=clone-parent"], format!("exec program={first}")),
        ("from a second thread", vec![], format!("thread program={first}")),
        ("from a second thread of a child", vec!["fork"], format!("thread program={first}")),
        ("in a child that shares the memory", vec![], format!("vfork program={first}")),
        ("shown at another path", vec![], format!("shown program={first} at={}", copy.display())),
    ]
}

#[test]
fn the_right_process_is_judged_in_every_shape() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    scene.place.copy("exit0", "copy")?;
    for (what, steps, last) in shapes(&scene, &first) {
        let (made, end) = live(&scene, &scene.service, &steps, &last)?;
        assert!(made && !killed(&end), "{what}, without an agent: {end:?}");
    }
    for mode in Mode::BOTH {
        let deny = [first.to_str().unwrap_or_default()];
        let agent = scene.agent(mode, &deny, "by = [\"service\"]\naction = \"kill\"")?;
        for (what, steps, last) in shapes(&scene, &first) {
            let (made, end) = live(&scene, &scene.service, &steps, &last)?;
            assert_eq!(made, mode == Mode::Observe, "{what}, {mode:?}: {end:?}");
            let (made, _) = live(&scene, &scene.other, &steps, &last)?;
            assert!(made, "{what}, by another, {mode:?}");
        }
        let count = shapes(&scene, &first).len();
        let labels = [("rule", "rule"), ("verdict", "kill"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, count as f64, deadline(10.0))?;
        let stopped = agent.stop()?;
        // Two lives for each shape: one exec of the launcher, and one of the program, in whatever shape.
        let mut execs: BTreeMap<String, usize> = BTreeMap::new();
        let path = |record: &Value| record["exe"]["path"].as_str().unwrap_or_default().to_owned();
        let records = stopped.records().matching(|record| record["kind"] == "exec")?;
        records.iter().for_each(|record| *execs.entry(path(record)).or_default() += 1);
        assert_eq!(execs[first.to_str().unwrap_or_default()], 2 * count, "one exec, one event: {execs:?}");
        for launcher in [&scene.service, &scene.other] {
            assert_eq!(execs[launcher.to_str().unwrap_or_default()], count, "{execs:?}");
        }
    }
    Ok(())
}

#[test]
fn what_members_start_is_still_theirs() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let rules = |descendants: bool| {
        format!(
            "[[workload]]\nname = \"service\"\nexe = [{:?}]\ndescendants = {descendants}\n\n\
             [[exec]]\nname = \"rule\"\nby = [\"service\"]\ndeny = [{first:?}]\naction = \"kill\"\n",
            scene.service
        )
    };
    let other = format!("exec program={} -- obey", scene.other.display());
    let last = format!("exec program={}", first.display());
    let lives: [(&str, &PathBuf, Vec<&str>); 4] = [
        ("the member", &scene.service, vec![]),
        ("its child as another program", &scene.service, vec!["fork", &other]),
        ("its orphan as another program", &scene.service, vec!["fork how=double", &other, "fork"]),
        ("itself as another program", &scene.service, vec![&other]),
    ];
    for descendants in [false, true] {
        let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules(descendants)).start()?;
        for (index, (what, program, steps)) in lives.iter().enumerate() {
            let (made, end) = live(&scene, program, steps, &last)?;
            assert_eq!(made, index > 0 && !descendants, "{what}, descendants: {descendants}: {end:?}");
        }
        let (made, _) = live(&scene, &scene.other, &["fork"], &last)?;
        assert!(made, "nobody's descendant");
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_script_counts_as_its_interpreter_and_once() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let free = scene.place.copy("first", "free")?;
    let inner = scene.place.script("inner", &first)?;
    let outer = scene.place.script("outer", &inner)?;
    let harmless = scene.place.script("harmless", &free)?;
    let run =
        |program: &Path| live(&scene, &scene.service, &[], &format!("exec program={}", program.display()));
    for program in [&outer, &inner, &harmless] {
        assert!(run(program)?.0, "{}, without an agent", program.display());
    }
    let agent = scene.agent(Mode::Enforce, &[first.to_str().unwrap_or_default()], "action = \"kill\"")?;
    for (program, passes) in [(&outer, false), (&inner, false), (&harmless, true)] {
        let (made, end) = run(program)?;
        assert_eq!((made, killed(&end)), (passes, !passes), "{}", program.display());
    }
    let labels = [("rule", "rule"), ("verdict", "kill")];
    agent.wait_for_metric("monitor_findings_total", &labels, 2.0, deadline(10.0))?;
    let findings = agent.stop()?.records().findings("rule")?;
    assert_eq!(findings[0]["script"], json!(outer), "{}", findings[0]);
    Ok(())
}

#[test]
fn a_file_that_never_had_a_name_is_deleted() -> Result<()> {
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let last = format!("tmpfile program={} directory={}", first.display(), scene.place.path().display());
    assert!(live(&scene, &scene.service, &[], &last)?.0, "without an agent");
    let agent = scene.agent(Mode::Enforce, &["@deleted"], "action = \"kill\"")?;
    let (made, end) = live(&scene, &scene.service, &[], &last)?;
    assert!(!made && killed(&end), "{end:?}");
    agent.stop()?;
    Ok(())
}

/// The dynamic loader, started by hand, maps the program that is meant: what started was the loader.
#[test]
fn the_loader_started_by_hand_is_its_own_class() -> Result<()> {
    if !Path::new(LOADER).exists() || !Path::new(DYNAMIC).exists() {
        println!("no dynamic loader at {LOADER}");
        return Ok(());
    }
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let own_loader = scene.place.copy_file(Path::new(LOADER), "loader")?;
    let by = |loader: &Path, what: &Path| format!("exec program={} -- {}", loader.display(), what.display());
    let plain = |what: &Path| format!("exec program={}", what.display());
    let cases = [
        ("the loader with a program", by(Path::new(LOADER), &first), true),
        ("the loader with a dynamic program", by(Path::new(LOADER), Path::new(DYNAMIC)), true),
        // A copy under another name is another program, as of every file.
        ("a copy of the loader", by(&own_loader, &first), false),
        ("the program itself", plain(&first), false),
        ("a dynamic program itself", plain(Path::new(DYNAMIC)), false),
    ];
    for (what, last, _) in &cases {
        let (_, end) = live(&scene, &scene.service, &[], last)?;
        assert!(end.status.success(), "{what}, without an agent: {end:?}");
    }
    let agent = scene.agent(Mode::Enforce, &["@loader"], "by = [\"service\"]\naction = \"kill\"")?;
    for (what, last, denied) in &cases {
        let (_, end) = live(&scene, &scene.service, &[], last)?;
        assert_eq!(killed(&end), *denied, "{what}: {end:?}");
        assert_eq!(end.status.success(), !denied, "{what}: {end:?}");
        let (_, end) = live(&scene, &scene.other, &[], last)?;
        assert!(end.status.success(), "{what}, by another: {end:?}");
    }
    agent.stop()?;
    Ok(())
}
