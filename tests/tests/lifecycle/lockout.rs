//! Rules that would lock administrators out are refused, with the place and the remedy, before anything is in force. Agents that
//! start here have a scope of their own all the same, in which a program named `login` lives: a mistake must not lock us out.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{
    agent::{Mode, Setup, turn},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    wait::deadline,
};

use super::refused::refused;

/// What stops these programs; the sixth line is where the rule begins.
fn rule(scope: &str, path: &Path, more: &str) -> String {
    let path = path.display().to_string();
    format!(
        "mode = \"enforce\"\n[agent]\ninterfaces = []\ncgroup = {scope:?}\n\n[[exec]]\nname = \"trap\"\n\
         deny = [{path:?}]\n{more}\n"
    )
}

fn shell_of_root() -> Result<PathBuf> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    let root = accounts.lines().find(|line| line.starts_with("root:")).context("there is no root")?;
    Ok(root.rsplit(':').next().unwrap_or_default().into())
}

/// Has somebody live there who logs people in.
fn login(place: &Place, group: &Cgroup) -> Result<Running> {
    let mut login = Program::new(place.copy("probe", "login")?).arg("hold").inside(group)?.start()?;
    login.json_line(deadline(10.0))?;
    Ok(login)
}

fn check(config: &Path) -> Result<Program> {
    Ok(Program::monitor()?.arg("check").arg(config))
}

#[test]
fn a_rule_that_would_stop_a_vital_program_is_refused_unless_it_insists() -> Result<()> {
    let _turn = turn();
    let place = Place::new()?;
    let group = Cgroup::new()?;
    let scope = group.scope();
    let config = place.join("monitor.toml");
    let agent = fs::canonicalize(tests::needs::monitor()?)?;
    // A link to it is the same file.
    let link = place.join("harmless");
    symlink(&agent, &link)?;
    let mut vital =
        vec![(shell_of_root()?, "the login shell of \"root\""), (agent, "this agent"), (link, "this agent")];
    match fs::read_link("/proc/1/exe") {
        Ok(init) => vital.push((init, "process 1")),
        // Nor does the agent know it then.
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    }
    for (path, what) in vital {
        let place_of_rule = format!("{}:6:1", config.display());
        let words = [&*place_of_rule, "trap", what, "force = true"];
        fs::write(&config, rule("/", &path, ""))?;
        refused(check(&config)?, &words).with_context(|| format!("check: {what}"))?;
        fs::write(&config, rule(&scope, &path, ""))?;
        let end = check(&config)?.finish(deadline(30.0))?;
        ensure!(end.status.success(), "{what}, where nobody logs in: {}", end.stderr);
        let login = login(&place, &group)?;
        let run = Program::monitor()?.arg("run").arg("--config").arg(&config);
        let run = run.arg("--run-dir").arg(place.directory("run")?).arg("--pin-dir").arg(place.join("pins"));
        refused(run, &words).with_context(|| format!("run: {what}"))?;
        drop(login);
        for fine in [
            "force = true\n",
            "mode = \"observe\"\n",
            "action = \"alert\"\n",
            "args = { contains = [\"--never-said\"] }\n",
            "by = [\"api\"]\n[[workload]]\nname = \"api\"\nexe = [\"/nowhere/api\"]\n",
            "user = [\"nobody\"]\n",
        ] {
            fs::write(&config, rule("/", &path, fine))?;
            let end = check(&config)?.finish(deadline(30.0))?;
            ensure!(end.status.success(), "{what}, {fine}: {}", end.stderr);
        }
    }
    // By a list of all that may be executed, too.
    let only = "mode = \"enforce\"\n[[exec]]\nname = \"trap\"\nuser = [\"root\"]\nallow = [\"/nowhere/*\"]\n";
    fs::write(&config, only)?;
    refused(check(&config)?, &["trap", "the login shell of", "this agent"])?;
    // The first rule that says something decides.
    fs::write(&config, format!("{only}\n[[exec]]\nname = \"later\"\ndeny = [\"/**\"]\nforce = true\n"))?;
    refused(check(&config)?, &["trap"])?;
    let first = "mode = \"enforce\"\n[[exec]]\nname = \"first\"\ndeny = [\"/**\"]\naction = \"alert\"\n\
                 [[exec]]\nname = \"hidden\"\ndeny = [\"/**\"]\n";
    fs::write(&config, first)?;
    let end = check(&config)?.finish(deadline(30.0))?;
    ensure!(end.status.success(), "an alert lets it pass: {}", end.stderr);
    Ok(())
}

#[test]
fn a_running_agent_keeps_its_policy_when_the_next_would_lock_out() -> Result<()> {
    let (group, place, shell) = (Cgroup::new()?, Place::new()?, shell_of_root()?);
    let quiet = format!("[[exec]]\nname = \"trap\"\nmode = \"observe\"\ndeny = [{shell:?}]\n");
    let mut agent = Setup::new(Mode::Enforce, &group).rules(&quiet).start()?;
    let order = |words: &[&str]| agent.order(words);
    let runs = || -> Result<bool> {
        let spawn = Program::probe()?.arg("spawn").with("program", &shell).inside(&group)?;
        Ok(spawn.json(deadline(60.0))?["ended"] == json!({ "code 0": 1 }))
    };
    // Where nobody logs in it is nobody's business.
    ensure!(order(&["mode", "enforce", "trap"])?.finish(deadline(60.0))?.status.success());
    ensure!(!runs()?, "control: it is refused");
    ensure!(order(&["mode", "observe", "trap"])?.finish(deadline(60.0))?.status.success());
    let _login = login(&place, &group)?;
    for words in [&["mode", "enforce", "trap"][..], &["mode", "enforce"]] {
        refused(order(words)?, &["trap", "the login shell of", "force = true"])?;
    }
    let trap = agent.another("trap.toml", |text| text.replace("mode = \"observe\"", ""))?;
    let trap = trap.to_str().context("a path")?;
    refused(agent.order(&["apply", trap])?, &["trap", "the login shell of"])?;
    agent.reconfigure(|text| text.replace("mode = \"observe\"", ""))?;
    agent.wait_for_metric("monitor_policy_reloads_total", &[("outcome", "invalid")], 4.0, deadline(60.0))?;
    ensure!(runs()?, "something of a refused policy is in force");
    agent.reconfigure(|text| text.replace("name = \"trap\"", "name = \"trap\"\nforce = true"))?;
    agent.wait_for_metric("monitor_policy_reloads_total", &[("outcome", "applied")], 3.0, deadline(60.0))?;
    ensure!(!runs()?, "it insists");
    agent.stop()?;
    Ok(())
}
