//! What is inside a guest: the agent, the programs that scenarios start, the test binaries, and the first process.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{initramfs::Archive, modules::Module};
use crate::{
    build,
    context::{Context, MUSL},
    shell::{Cmd, step},
};

/// The binary of package `tests` that is a guest's first process.
const INIT: &str = "guest-init";

/// Where the programs that scenarios start lie in a guest.
const PROBES: &str = "usr/lib/monitor-tests";

/// The agent's place in a guest.
const AGENT: &str = "usr/bin/monitor";

/// By how much scenarios multiply their deadlines: emulation is that much slower, and more.
const SLOWDOWN: &str = "5";

/// Static binaries of this clone.
#[derive(Debug, Default)]
pub struct Programs {
    agent: PathBuf,
    init: Option<PathBuf>,
    probes: Vec<PathBuf>,
    tests: Vec<PathBuf>,
}

/// Builds everything of ours that a guest needs.
pub fn build(context: &Context) -> Result<Programs> {
    let mut programs = Programs { agent: build::static_agent(context)?, ..Programs::default() };
    let arguments = [
        "build",
        "--package",
        "tests",
        "--features",
        "scenarios",
        "--bins",
        "--test",
        "*",
        "--release",
        "--target",
        MUSL,
        "--message-format",
        "json-render-diagnostics",
    ];
    step(&format!("cargo {}", arguments.join(" ")));
    let mut cargo = Cmd::cargo(context)?.args(arguments).into_inner();
    let output = cargo.stderr(Stdio::inherit()).output().context("starting `cargo`")?;
    if !output.status.success() {
        bail!("building the scenarios failed: {}", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo printed invalid UTF-8")?;
    for message in messages.lines() {
        programs.add(serde_json::from_str(message).context("reading what cargo says it built")?);
    }
    if programs.tests.is_empty() {
        bail!("the package `tests` has no test binaries");
    }
    Ok(programs)
}

/// A line of cargo's, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Programs {
    fn add(&mut self, message: Message) {
        let Message { executable: Some(path), target: Some(target) } = message else { return };
        match target.kind.first().map(String::as_str) {
            Some("bin") if target.name == INIT => self.init = Some(path),
            Some("bin") => self.probes.push(path),
            Some("test") => self.tests.push(path),
            _ => {}
        }
    }

    /// Writes the file system of a guest; its size in bytes.
    pub fn pack(&self, modules: &[Module], timeout: u64, arguments: &[OsString], to: &Path) -> Result<usize> {
        let init =
            self.init.as_ref().with_context(|| format!("the package `tests` has no binary `{INIT}`"))?;
        let mut archive = Archive::create(to)?;
        let mut plan = Plan::default();
        archive.program("init", init)?;
        archive.program(AGENT, &self.agent)?;
        plan.line("env", &format!("MONITOR_BIN=/{AGENT}"))?;
        for probe in &self.probes {
            archive.program(&format!("{PROBES}/{}", file_name(probe)?), probe)?;
        }
        plan.line("env", &format!("MONITOR_PROBE_DIR=/{PROBES}"))?;
        plan.line("env", &format!("MONITOR_TEST_SLOWDOWN={SLOWDOWN}"))?;
        plan.line("env", "PATH=/usr/bin:/bin")?;
        plan.line("env", "HOME=/tmp")?;
        for module in modules {
            let path = format!("lib/modules/{}.ko", module.name);
            archive.program(&path, &module.object)?;
            plan.line("module", &format!("/{path}"))?;
        }
        for test in &self.tests {
            let path = format!("tests/{}", test_name(file_name(test)?));
            archive.program(&path, test)?;
            plan.line("test", &format!("/{path}"))?;
        }
        plan.line("timeout", &timeout.to_string())?;
        for argument in arguments {
            plan.line("arg", argument.to_str().context("an argument for the tests isn't valid UTF-8")?)?;
        }
        archive.file(
            "etc/passwd",
            b"root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        )?;
        archive.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
        archive.file("plan", plan.0.as_bytes())?;
        archive.finish()
    }
}

/// What the first process reads: one `key=value` a line. `tests/src/bin/guest-init.rs` says what the keys mean.
#[derive(Debug, Default)]
struct Plan(String);

impl Plan {
    fn line(&mut self, key: &str, value: &str) -> Result<()> {
        if value.contains('\n') {
            bail!("an argument for the tests has a line break: {value:?}");
        }
        self.0.push_str(&format!("{key}={value}\n"));
        Ok(())
    }
}

fn file_name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("{} has no usable file name", path.display()))
}

/// Cargo adds a hash to the names of test binaries.
fn test_name(file: &str) -> &str {
    file.rsplit_once('-').map_or(file, |(name, _)| name)
}
