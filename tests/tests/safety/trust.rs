//! A configuration that others may change is not acted on, at the start and when it is read anew.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::{self, Mode, Setup},
    cgroup::Cgroup,
    kernel::Inventory,
    place::Place,
    program::Program,
    wait::{deadline, eventually},
};

use crate::lifecycle::refused::refused;

const RULE: &str = "[[exec]]\nname = \"r\"\ndeny = [\"/nowhere\"]\n";

fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("chmod")
}

/// A way to leave a configuration open to others, and what is named then: the culprit and its mode or owner.
type Opening = (&'static str, fn(&Path) -> Result<PathBuf>, &'static str);

const OPENINGS: [Opening; 7] = [
    ("the file, by its group", |dir| with_mode(dir.join("monitor.toml"), 0o664), "0664"),
    ("the file, by everybody", |dir| with_mode(dir.join("monitor.toml"), 0o602), "0602"),
    ("a fragment", |dir| with_mode(dir.join("policy.d/10.toml"), 0o646), "0646"),
    ("the fragments' directory", |dir| with_mode(dir.join("policy.d"), 0o1777), "1777"),
    ("the directory", |dir| with_mode(dir.to_owned(), 0o775), "0775"),
    ("the file's owner", |dir| strangers(dir.join("monitor.toml")), "user 65534"),
    (
        "what a link leads over",
        |dir| {
            fs::create_dir(dir.join("open"))?;
            fs::rename(dir.join("monitor.toml"), dir.join("open/real.toml"))?;
            symlink("open/real.toml", dir.join("monitor.toml"))?;
            with_mode(dir.join("open"), 0o757)
        },
        "0757",
    ),
];

fn with_mode(path: PathBuf, wanted: u32) -> Result<PathBuf> {
    mode(&path, wanted).map(|()| path)
}

fn strangers(path: PathBuf) -> Result<PathBuf> {
    chown(&path, Some(65534), None)?;
    Ok(path)
}

#[test]
fn what_others_may_change_is_refused_with_the_remedy() -> Result<()> {
    let _turn = agent::turn();
    let before = Inventory::take()?;
    for (what, open, word) in OPENINGS {
        let (group, place) = (Cgroup::new()?, Place::new()?);
        let directory = place.directory("etc")?;
        fs::create_dir(directory.join("policy.d"))?;
        fs::write(directory.join("policy.d/10.toml"), RULE)?;
        let text = Setup::new(Mode::Observe, &group).config("/dev/null");
        let config = directory.join("monitor.toml");
        fs::write(&config, text)?;
        let culprit = open(&directory).context(what)?;
        let culprit = culprit.to_str().context("a path")?;
        let remedy = if word.starts_with("user") { "chown root" } else { "chmod go-w" };
        let run = Program::monitor()?.arg("run").arg("--config").arg(&config);
        let run =
            run.arg("--run-dir").arg(place.directory("run")?).arg("--state-dir").arg(place.join("state"));
        refused(run, &[word, &format!("`{remedy} {culprit}`")]).context(what)?;
        // To look at what it says is another matter, but who checks it as root is told.
        let check = Program::monitor()?.arg("check").arg(&config).finish(deadline(20.0))?;
        assert_eq!(check.status.code(), Some(0), "{what}: {}", check.stderr);
        ensure!(check.stderr.contains(culprit) || word == "1777", "{what}: {}", check.stderr);
    }
    before.wait_until_restored(deadline(20.0))
}

#[test]
fn directories_of_its_own_that_others_may_change_are_refused() -> Result<()> {
    let _turn = agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    for name in ["run", "state"] {
        let directory = place.directory(name)?;
        let start = || Setup::new(Mode::Observe, &group).program(&place, &place.join("run"));
        mode(&directory, 0o777)?;
        let path = directory.to_str().context("a path")?;
        refused(start()?, &["0777", &format!("`chmod go-w {path}`")])?;
        mode(&directory, 0o755)?;
    }
    Ok(())
}

/// The old policy stays in force, and the agent says why.
#[test]
fn a_policy_that_others_may_change_is_not_read_anew() -> Result<()> {
    let group = Cgroup::new()?;
    let rule = "[[rate_limit]]\nname = \"flood\"\nports = [443]\npackets = \"1000/s\"\n";
    let mut agent = Setup::new(Mode::Observe, &group).rules(rule).start()?;
    let invalid = [("outcome", "invalid")];
    let count = |agent: &agent::Agent<'_>| {
        Ok::<_, anyhow::Error>(agent.metrics()?.sum("monitor_policy_reloads_total", &invalid))
    };
    assert_eq!(count(&agent)?, 0.0);
    let config = agent.run_directory().with_file_name("monitor.toml");
    agent.reconfigure_as(0o666, |text| text.replace("1000/s", "2000/s"))?;
    eventually("the refusal", deadline(20.0), || Ok((count(&agent)? == 1.0).then_some(())))?;
    assert_eq!(agent.get("/readyz")?.0, 200);
    let stopped = agent.stop()?;
    ensure!(stopped.stderr.contains(&format!("chmod go-w {}", config.display())), "{}", stopped.stderr);
    Ok(())
}
