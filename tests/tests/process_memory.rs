//! The memory of other processes: who may get at it. What the probe got is the oracle.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup, doctor::security_hooks, turn},
    cgroup::Cgroup,
    kernel::takes_programs_at,
    place::Place,
    program::Program,
    wait::deadline,
};

/// The function of the kernel that is watched where no security hook is.
pub const WATCHED: &str = "security_ptrace_access_check";
/// What is judged.
const WAYS: [&str; 3] = ["attach", "read", "file"];

/// What came of one way, tried by this program.
fn outcome(program: &Path, group: &Cgroup, way: &str, pid: u32) -> Result<Value> {
    let probe = Program::new(program).arg("memory").with("way", way).with("pid", pid.to_string());
    probe.inside(group)?.json(deadline(20.0))
}

#[test]
fn only_those_named_get_at_the_memory_of_others() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let (debugger, other) = (place.copy("probe", "gdb")?, place.copy("probe", "other")?);
    let vault = place.copy("probe", "vault")?;
    let mut target = Program::new(&vault).arg("hold").inside(&group)?.start()?;
    target.json_line(deadline(20.0))?;
    let pid = target.pid();
    for program in [&debugger, &other] {
        for way in WAYS.into_iter().chain(["look"]) {
            assert_eq!(outcome(program, &group, way, pid)?, "ok", "{way} without an agent");
        }
    }
    let lsm = {
        let _turn = turn();
        security_hooks()?
    };
    let rules = |action: &str| {
        let degrade = if lsm { "" } else { "degrade = \"observe\"\n" };
        format!(
            "[[workload]]\nname = \"debugger\"\nexe = [{debugger:?}]\n\
             [process_memory]\nallow = [\"debugger\"]\naction = {action:?}\n{degrade}"
        )
    };
    if !lsm && refused_at_start(&place, &group)? {
        return Ok(());
    }
    for (action, mode) in [("alert", Mode::Enforce), ("deny", Mode::Observe), ("deny", Mode::Enforce)] {
        let agent = Setup::new(mode, &group).rules(&rules(action)).start()?;
        let acts = lsm && (action, mode) == ("deny", Mode::Enforce);
        for way in WAYS {
            assert_eq!(outcome(&debugger, &group, way, pid)?, "ok", "{way}, {action}, {mode:?}");
            let expected = if acts { "EPERM" } else { "ok" };
            // A file that may not be opened says so in its own word.
            let expected = if acts && way == "file" { "EACCES" } else { expected };
            assert_eq!(outcome(&other, &group, way, pid)?, expected, "{way}, {action}, {mode:?}");
        }
        assert_eq!(outcome(&other, &group, "look", pid)?, "ok", "{action}, {mode:?}");
        let told = if lsm || action == "alert" { mode.name() } else { "observe" };
        let labels = [("kind", "process_memory"), ("verdict", action), ("mode", told)];
        agent.wait_for_metric("monitor_findings_total", &labels, WAYS.len() as f64, deadline(10.0))?;
        let stopped = agent.stop()?;
        let findings = stopped.records().findings("process_memory")?;
        assert_eq!(findings.len(), WAYS.len(), "{findings:#?}");
        for finding in findings {
            let expected = json!({
                "kind": "memory", "target_pid": pid, "target_exe": vault.display().to_string(),
                "object": vault.display().to_string(), "subject": other.display().to_string(),
            });
            for (key, value) in expected.as_object().into_iter().flatten() {
                assert_eq!(&finding[key], value, "{key} of {finding}");
            }
        }
    }
    Ok(())
}

/// Without BPF LSM nobody can be kept from it: an agent that is told to doesn't start, and says why. Whether it can't even be watched.
fn refused_at_start(place: &Place, group: &Cgroup) -> Result<bool> {
    let _turn = turn();
    let start = |action: &str| {
        let rule = format!("[process_memory]\nallow = []\naction = \"{action}\"\n");
        let setup = Setup::new(Mode::Enforce, group).rules(&rule);
        setup.program(place, &place.join("run of agent"))
    };
    let end = start("deny")?.finish(deadline(30.0))?;
    assert_eq!(end.status.code(), Some(1), "{}", end.stderr);
    for word in ["process_memory", "LSM", "degrade"] {
        assert!(end.stderr.contains(word), "the message doesn't name {word:?}:\n{}", end.stderr);
    }
    if takes_programs_at(WATCHED)? {
        return Ok(false);
    }
    let end = start("alert")?.finish(deadline(30.0))?;
    assert_eq!(end.status.code(), Some(1), "{}", end.stderr);
    for word in ["[process_memory] can't be watched", "memory_seen", "degrade"] {
        assert!(end.stderr.contains(word), "the message doesn't name {word:?}:\n{}", end.stderr);
    }
    Ok(true)
}
