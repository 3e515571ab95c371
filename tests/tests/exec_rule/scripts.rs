//! Scripts: judged by themselves and by their interpreters where security hooks run, else by what runs in the end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use tests::{
    agent::{Mode, Setup, doctor::security_hooks, turn},
    life::Life,
    wait::deadline,
};

use super::{Scene, killed, ran, refused};

/// Whether the kernel shows scripts at all; said where it doesn't, after it was tried.
fn shows_scripts() -> Result<bool> {
    let _turn = turn();
    security_hooks()
}

#[test]
fn a_script_is_judged_by_itself_where_the_kernel_shows_it() -> Result<()> {
    let lsm = shows_scripts()?;
    let scene = Scene::new()?;
    let first = scene.place.copy("first", "first")?;
    let denied = scene.place.script("drop/denied", &first)?;
    let inner = scene.place.script("inner", &first)?;
    // A script whose interpreter is a script.
    let outer = scene.place.script("lost/outer", &inner)?;
    let free = scene.place.script("free", &first)?;
    for script in [&denied, &outer, &free] {
        assert_eq!(scene.spawn(&scene.service, script, 3)?, ran(3), "{}, without an agent", script.display());
    }
    let base = scene.place.path().display();
    let rules = format!(
        "[[exec]]\nname = \"denied\"\ndeny = [\"{base}/drop/**\"]\n\n\
         [[exec]]\nname = \"killed\"\ndeny = [\"{base}/lost/**\"]\naction = \"kill\"\n"
    );
    for mode in Mode::BOTH {
        let agent = Setup::new(mode, &scene.group).rules(&rules).start()?;
        let stops = lsm && mode == Mode::Enforce;
        let cases = [
            (&denied, if stops { refused(3) } else { ran(3) }),
            (&outer, if stops { killed(3) } else { ran(3) }),
            (&free, ran(3)),
        ];
        for (script, expected) in cases {
            let found = scene.spawn(&scene.service, script, 3)?;
            assert_eq!(found, expected, "{}, {mode:?}, LSM: {lsm}", script.display());
        }
        for rule in ["denied", "killed"] {
            let seen = if lsm { 3.0 } else { 0.0 };
            agent.wait_for_metric("monitor_findings_total", &[("rule", rule)], seen, deadline(10.0))?;
        }
        agent.stop()?;
    }
    Ok(())
}

/// A script that was looked at and then couldn't be run, for lack of room for its arguments, says nothing of what the thread
/// executes next.
#[test]
fn a_script_that_failed_says_nothing_of_the_next_exec() -> Result<()> {
    let lsm = shows_scripts()?;
    let scene = Scene::new()?;
    let (first, own) = (scene.place.copy("first", "first")?, scene.place.copy("probe", "own")?);
    let interpreter = scene.place.copy("probe", "interpreter")?;
    let with_argument = PathBuf::from(format!("{} obey", interpreter.display()));
    let script = scene.place.script("backup", &with_argument)?;
    let rules = format!(
        "[[workload]]\nname = \"backup\"\nexe = [{script:?}]\n\n\
         [[exec]]\nname = \"not for the backup\"\nby = [\"backup\"]\ndeny = [{first:?}]\naction = \"kill\"\n"
    );
    let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules).start()?;
    let run = |steps: &[String]| -> Result<bool> {
        let mut life = Life::start(scene.program(&scene.service)?)?;
        for step in steps {
            life.tell(step).with_context(|| step.clone())?;
        }
        life.tell_last(&format!("exec program={}", first.display()))?;
        Ok(scene.made())
    };
    let become_it = |path: &Path| format!("exec program={} -- obey", path.display());
    // Where scripts are seen, who runs one is what the policy says of it.
    assert_eq!(run(&[become_it(&script)])?, !lsm, "the script itself, LSM: {lsm}");
    assert!(run(&[become_it(&own)])?, "another program");
    let stale = format!("overfull script={}", script.display());
    let mut life = Life::start(scene.program(&scene.service)?)?;
    assert_eq!(life.tell(&stale)?, json!({ "errno 7": 1 }), "E2BIG behind the security hook");
    drop(life);
    let from_a_thread = format!("thread program={} -- obey", own.display());
    for next in [become_it(&own), from_a_thread] {
        assert!(run(&[stale.clone(), next.clone()])?, "after a script that failed: {next}");
    }
    let script_from_a_thread = format!("thread program={} -- obey", script.display());
    assert_eq!(run(&[script_from_a_thread])?, !lsm, "the script from another thread, LSM: {lsm}");
    agent.stop()?;
    Ok(())
}
