//! The archive for a bug report has what helps, and no secret.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::deadline,
};

/// What an archive says, as tar reads it.
fn unpacked(archive: &Path) -> Result<String> {
    let tar = |what: &str| {
        Program::new("/usr/bin/tar")
            .arg(what)
            .arg(archive)
            .finish(deadline(20.0))
            .map(|end| end.stdout.join("\n"))
    };
    Ok(format!("{}\n{}", tar("-tzf")?, tar("-xzOf")?))
}

#[test]
fn a_bug_report_has_what_helps_and_no_secret() -> Result<()> {
    ensure!(Path::new("/usr/bin/tar").exists() || Path::new("/init").exists(), "no tar");
    if !Path::new("/usr/bin/tar").exists() {
        return Ok(());
    }
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let rules = "[[exec]]\nname = \"dumps\"\ndeny = [\"/nowhere\"]\nargs = { contains = [\"--password=hunter2\"] }\n\
                 # postgres://eve:hunter2@db, and the scraper's hash: $2y$10$7OEfHTe/OO0WkmAhBC/w/.hunter2xxxxxxxxxxxxxxx\n\
                 # PIN 31337\n";
    let agent = Setup::new(Mode::Observe, &group).rules(rules).redact("[\"PIN ([0-9]+)\"]").start()?;
    let config = agent.run_directory().with_file_name("monitor.toml");
    // As it is served: the configuration says port 0.
    let text = fs::read_to_string(&config)?.replace("127.0.0.1:0", &agent.address()?.to_string());
    let as_served = place.join("served.toml");
    fs::write(&as_served, text)?;
    let archive = place.join("report.tar.gz");
    let end = Program::monitor()?.args(["support", "--out"]).arg(&archive).arg("--config").arg(&as_served);
    let end = end.env("PGPASSWORD", "hunter2").finish(deadline(120.0))?;
    assert_eq!(end.status.code(), Some(0), "{}", end.stderr);
    assert_eq!(fs::metadata(&archive)?.permissions().mode() & 0o777, 0o600);
    let all = unpacked(&archive)?;
    for word in [
        "monitor-support/doctor.txt",
        "exec_kill",
        "Linux version",
        "monitor_build_info",
        "NoNewPrivs",
        "name = \"dumps\"",
        "--password=[redacted]",
        "postgres://eve:[redacted]@db",
        "PIN [redacted]",
    ] {
        ensure!(all.contains(word), "{word} is not in the archive:\n{all}");
    }
    for secret in ["hunter2", "31337", "7OEfHTe"] {
        let line = all.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "{secret} is in the archive: {line:?}");
    }
    let listed = end.stdout.join("\n");
    listed.contains("doctor.txt").then_some(()).context("what is in it was not said")?;
    agent.stop()?;
    Ok(())
}
