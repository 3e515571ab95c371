//! Where things are, and what the machine lets us do.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::shell::quoted;

/// The target triple of static binaries: they run in guests and in empty containers.
pub const MUSL: &str = "x86_64-unknown-linux-musl";

/// The clone that this command works on.
#[derive(Debug, Clone)]
pub struct Context {
    root: PathBuf,
    target: PathBuf,
}

impl Context {
    /// Finds the clone and cargo's target directory (`target` in the clone unless `CARGO_TARGET_DIR` says otherwise).
    pub fn new() -> Result<Self> {
        let manifest = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        };
        let root = manifest.parent().context("the xtask package has no parent directory")?.to_path_buf();
        anyhow::ensure!(
            root.join("monitor-ebpf/Cargo.toml").is_file(),
            "{} isn't a clone of monitor: run `cargo xtask` inside one",
            root.display()
        );
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(path) => env::current_dir().context("reading the current directory")?.join(path),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The root of the clone.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the clone.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// A path in cargo's target directory; always absolute.
    pub fn target(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.target.join(relative)
    }

    /// Where `setup` puts tools: in the clone, whatever the target directory is.
    pub fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// Whether this process may load programs and make namespaces.
    pub fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Says how to run the same command as root, keeping what cargo and rustup go by.
    pub fn how_to_be_root(&self) -> String {
        let arguments: Vec<String> = env::args().skip(1).map(|argument| quoted(&argument)).collect();
        format!("sudo env HOME=\"$HOME\" PATH=\"$PATH\" cargo xtask {}", arguments.join(" "))
    }
}
