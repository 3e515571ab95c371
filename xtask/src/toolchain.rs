//! The Rust toolchain that everything is built with.

use std::{path::PathBuf, sync::OnceLock};

use anyhow::{Context as _, Result};

use crate::{context::Context, shell::Cmd};

/// Used when stable's LLVM isn't the one that the pinned bpf-linker speaks to.
pub const PINNED: &str = "1.95.0";

/// bpf-linker 0.10 loads the LLVM inside the toolchain and is written for this major version.
const LLVM_MAJOR: &str = "22";

/// `stable` while it comes with the LLVM that the linker of the kernel programs needs, else [`PINNED`].
///
/// One toolchain builds both sides: a caller's `cargo +nightly xtask` or `RUSTUP_TOOLCHAIN` changes nothing.
pub fn name(context: &Context) -> Result<&'static str> {
    static NAME: OnceLock<&str> = OnceLock::new();
    if let Some(name) = NAME.get() {
        return Ok(name);
    }
    let rustc = Cmd::new(context, "rustc").hidden_env("RUSTUP_TOOLCHAIN", "stable").arg("-vV").read();
    let version = rustc.context(
        "asking rustc for its version; install Rust with rustup (`rustup toolchain install stable`)",
    )?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or_default();
    let suits = llvm.split('.').next() == Some(LLVM_MAJOR);
    Ok(NAME.get_or_init(|| if suits { "stable" } else { PINNED }))
}

/// The toolchain's directory, where its components lie.
pub fn sysroot(context: &Context) -> Result<PathBuf> {
    static SYSROOT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = SYSROOT.get() {
        return Ok(path.clone());
    }
    let rustc = Cmd::new(context, "rustc").hidden_env("RUSTUP_TOOLCHAIN", name(context)?);
    let path = rustc.args(["--print", "sysroot"]).read()?;
    Ok(SYSROOT.get_or_init(|| PathBuf::from(path.trim())).clone())
}
