//! Who a program is, is its file: whatever it is called, and whatever is shown in its place.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use tests::{
    agent::{Agent, Mode},
    life::Life,
    program::Program,
    wait::{deadline, eventually},
};

use super::scene::Scene;

/// Seconds within which the agent knows what became of a file. It looks each second.
const NOTICED: f64 = 1.5;

/// What a new life of a program reaches.
fn reached(scene: &Scene, program: &Path) -> Result<Vec<&'static str>> {
    begun(scene, Program::new(program), &[])
}

/// What a program reaches after these steps.
fn begun(scene: &Scene, program: Program, steps: &[String]) -> Result<Vec<&'static str>> {
    let group = scene.slice.below("files")?;
    let mut life = Life::start(program.inside(&group)?)?;
    for step in steps {
        life.tell(step)?;
    }
    scene.workloads(&mut life)
}

fn wait_until_reached(scene: &Scene, program: &Path, workloads: &[&str], what: &str) -> Result<()> {
    eventually(what, deadline(NOTICED), || Ok((reached(scene, program)? == workloads).then_some(())))
}

fn sha256(path: &Path) -> Result<String> {
    Ok(Sha256::digest(fs::read(path)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Replaces a file's content and leaves everything else.
fn rewrite(path: &Path, content: &[u8]) -> Result<()> {
    // A file that was just executed may be busy for a moment.
    eventually("a file that nobody runs", deadline(5.0), || match fs::write(path, content) {
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => Ok(None),
        other => Ok(Some(other?)),
    })
}

fn hashed(scene: &Scene, mode: Mode) -> Result<Agent<'static>> {
    let right = sha256(&scene.place.join("b"))?;
    let wrong = "0".repeat(64);
    scene.agent(
        mode,
        &format!(
            "[[workload]]\nname = \"path\"\nexe = [\"{{a}}\"]\n\n\
             [[workload]]\nname = \"right\"\nexe = [\"{{b}}\"]\nsha256 = [{wrong:?}, {right:?}]\n\n\
             [[workload]]\nname = \"wrong\"\nexe = [\"{{c}}\"]\nsha256 = [{wrong:?}]\n"
        ),
    )
}

#[test]
fn a_program_with_another_content_is_unverified() -> Result<()> {
    let scene = Scene::new(&["path", "right", "wrong"])?;
    let [a, b, c] = ["a", "b", "c"].map(|name| scene.place.join(name));
    let original = fs::read(&b)?;
    // Each copy a file of another content than the others, and still the same program.
    rewrite(&c, &[&original[..], b"c"].concat())?;
    let observed = hashed(&scene, Mode::Observe)?;
    for program in [&a, &b, &c] {
        assert_eq!(reached(&scene, program)?, scene.all(), "{} is observed", program.display());
    }
    observed.stop()?;
    let agent = hashed(&scene, Mode::Enforce)?;
    for (program, workloads) in [(&a, &["path"][..]), (&b, &["right"]), (&c, &[])] {
        assert_eq!(reached(&scene, program)?, workloads, "{}", program.display());
    }
    rewrite(&b, &[&original[..], b"changed"].concat())?;
    let long = deadline(2.0);
    while !long.left().is_zero() {
        assert_eq!(reached(&scene, &b)?, [""; 0], "changed");
    }
    let finding = agent.records().wait_for("a finding", deadline(5.0), |record| {
        record["type"] == "finding"
            && record["rule"] == "of right"
            && record["exe"]["path"] == json!(b)
            && record["exe"]["notes"].as_array().is_some_and(|notes| notes.contains(&json!("unverified")))
    });
    finding?;
    rewrite(&b, &original)?;
    wait_until_reached(&scene, &b, &["right"], "the same content again")?;
    agent.stop()?;
    Ok(())
}

#[test]
fn an_upgrade_is_known_within_a_second() -> Result<()> {
    let scene = Scene::new(&["path", "right", "wrong"])?;
    let a = scene.place.join("a");
    let agent = hashed(&scene, Mode::Enforce)?;
    for round in 0..3 {
        let old = scene.place.join(format!("old-{round}"));
        fs::hard_link(&a, &old)?;
        wait_until_reached(&scene, &a, &["path"], "the old version")?;
        assert_eq!(reached(&scene, &old)?, ["path"], "by another name");
        let new = scene.place.copy("probe", "new")?;
        assert_eq!(reached(&scene, &new)?, [""; 0], "before it is the program");
        fs::rename(&new, &a)?;
        wait_until_reached(&scene, &a, &["path"], "the new version")?;
        assert_eq!(reached(&scene, &old)?, [""; 0], "the old version, round {round}");
    }
    let replaced = agent.metrics()?.sum("monitor_files_replaced_total", &[]);
    assert_eq!(replaced, 3.0, "versions that came");
    agent.stop()?;
    Ok(())
}

#[test]
fn a_name_is_no_identity() -> Result<()> {
    let scene = Scene::new(&["path", "right", "wrong"])?;
    let [a, b, c] = ["a", "b", "c"].map(|name| scene.place.join(name));
    let program = |path: &Path| path.display().to_string();
    // The path of `a` below another root.
    let root = scene.place.directory("root")?;
    let inside = root.join(a.strip_prefix("/")?);
    scene.place.copy_file(&b, &program(&inside))?;
    let link = scene.place.join("link");
    symlink(&a, &link)?;
    let steps = [
        (
            "another file shown at the path",
            &c,
            format!("shown program={} at={} -- obey", program(&c), program(&a)),
            "",
        ),
        (
            "the file shown at another path",
            &c,
            format!("shown program={} at={} -- obey", program(&a), program(&c)),
            "path",
        ),
        (
            "another file at the path below another root",
            &c,
            format!("chrooted program={} root={} -- obey", program(&a), root.display()),
            "",
        ),
        ("a symbolic link", &c, format!("exec program={} -- obey", link.display()), "path"),
        ("a copy in memory", &a, format!("memfd program={} -- obey", program(&a)), ""),
        (
            "a copy that was deleted",
            &a,
            format!("deleted program={} copy={} -- obey", program(&a), scene.place.join("copy").display()),
            "",
        ),
    ];
    let agent = hashed(&scene, Mode::Enforce)?;
    for (what, first, step, workload) in steps {
        let expected: Vec<&str> = if workload.is_empty() { vec![] } else { vec![workload] };
        assert_eq!(begun(&scene, Program::new(first), &[step])?, expected, "{what}");
    }
    let renamed = scene.place.join("renamed");
    fs::rename(&a, &renamed)?;
    wait_until_reached(&scene, &renamed, &["path"], "the file under another name")?;
    assert_eq!(reached(&scene, &b)?, ["right"], "another program");
    agent.stop()?;
    Ok(())
}
