//! Building the kernel programs.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::PathBuf,
    sync::OnceLock,
};

use anyhow::{Context as _, Result};

use super::object::Object;
use crate::{context::Context, shell::Cmd, toolchain};

/// The target of the kernel programs. It has no prebuilt `core`.
pub const TARGET: &str = "bpfel-unknown-none";

/// What rustc is told for every crate of the kernel side.
///
/// Debug information becomes BTF, from which the kernel takes function types and the verifier its line numbers. The
/// paths in it are the same wherever the clone lies. `v3` allows 32-bit operations and atomics that fetch; kernels
/// have had it since 5.12.
fn compiler_flags(context: &Context) -> Result<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    let fixed = ["-Cdebuginfo=2", "-Clink-arg=--btf", "--cfg=bpf_target_arch=\"x86_64\"", "-Ctarget-cpu=v3"];
    flags.extend(fixed.map(OsString::from));
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let places =
        [(Some(toolchain::sysroot(context)?), "rust"), (cargo_home, "cargo"), (Some(context.path("")), "")];
    for (from, to) in places.iter().filter_map(|(from, to)| Some((from.as_ref()?, to))) {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    flags.push("--remap-path-scope=object".into());
    Ok(flags.join(OsStr::new("\x1f")))
}

/// Cargo for the crate of the kernel programs, with everything that compiles for their target.
pub fn cargo(context: &Context, subcommand: &str) -> Result<Cmd> {
    let cargo = Cmd::cargo(context)?
        .dir(context.path("monitor-ebpf"))
        // `-Zbuild-std` on a stable compiler; for this child only.
        .env("RUSTC_BOOTSTRAP", "1")
        .hidden_env("CARGO_TARGET_DIR", context.target("ebpf"))
        .hidden_env("CARGO_ENCODED_RUSTFLAGS", compiler_flags(context)?)
        // rustc starts the linker by name.
        .hidden_env("PATH", path_with_tools(context)?)
        .args([subcommand, "--release", "-Zbuild-std=core", "--target", TARGET]);
    Ok(cargo)
}

/// The PATH with the tools of this clone in front.
pub fn path_with_tools(context: &Context) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = [context.tools().join("bin")].into_iter().chain(env::split_paths(&path));
    env::join_paths(directories).context("the path of this clone has a colon, which the PATH can't hold")
}

/// Builds and checks the object with all kernel programs, once a process; an absolute path.
///
/// What is returned lies beside cargo's own output and is replaced only when its bytes differ, so that the agent,
/// which embeds it, isn't compiled anew for nothing; and only by an object that passed the checks.
pub fn kernel_object(context: &Context) -> Result<PathBuf> {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = DONE.get() {
        return Ok(path.clone());
    }
    cargo(context, "build")?.run()?;
    let built = context.target("ebpf").join(TARGET).join("release/monitor");
    let bytes = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    Object::parse(&bytes)?.no_reachable_panic()?;

    let checked = context.target("ebpf").join("monitor.bpf.o");
    if fs::read(&checked).ok().as_ref() != Some(&bytes) {
        let partial = checked.with_extension("partial");
        fs::write(&partial, &bytes).with_context(|| format!("writing {}", partial.display()))?;
        fs::rename(&partial, &checked).with_context(|| format!("writing {}", checked.display()))?;
    }
    Ok(DONE.get_or_init(|| checked).clone())
}
