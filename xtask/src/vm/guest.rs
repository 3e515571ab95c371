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

/// The binary of package `tests` that tries every way of enforcing.
const SHEET: &str = "sheet";

/// Programs that the harness starts.
const PROGRAMS: [&str; 3] = ["probe", "first", "exit0"];

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

/// What a guest is to do.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// Whether every way of enforcing is tried.
    pub sheet: bool,
    /// Whether the verifier is asked about every program, too.
    pub programs: bool,
    /// Whether tests are run, and the arguments of their binaries.
    pub tests: Option<&'a [OsString]>,
    /// How long each of these may take, in seconds.
    pub timeout: u64,
    /// A mount point that is left out.
    pub skip: Option<&'static str>,
}

/// Builds everything of ours that a guest needs; the test binaries only where tests are run.
pub fn build(context: &Context, with_tests: bool) -> Result<Programs> {
    let mut programs = Programs { agent: build::static_agent(context)?, ..Programs::default() };
    let mut arguments = vec!["build", "--package", "tests", "--features", "scenarios", "--release"];
    arguments.extend(["--target", MUSL, "--message-format", "json-render-diagnostics"]);
    [&[INIT, SHEET][..], &PROGRAMS].concat().into_iter().for_each(|name| arguments.extend(["--bin", name]));
    if with_tests {
        arguments.extend(["--test", "*"]);
    }
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
    if with_tests && programs.tests.is_empty() {
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
    pub fn pack(&self, modules: &[Module], work: &Work<'_>, to: &Path) -> Result<usize> {
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
        work.skip.iter().try_for_each(|point| plan.line("skip", point))?;
        if work.sheet {
            let programs = if work.programs { "" } else { " --no-programs" };
            plan.line("sheet", &format!("/{PROBES}/{SHEET}{programs}"))?;
        }
        for test in self.tests.iter().filter(|_| work.tests.is_some()) {
            let path = format!("tests/{}", test_name(file_name(test)?));
            archive.program(&path, test)?;
            plan.line("test", &format!("/{path}"))?;
        }
        plan.line("timeout", &work.timeout.to_string())?;
        for argument in work.tests.into_iter().flatten() {
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
