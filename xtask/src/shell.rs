//! Running other programs: what is run is shown, and a failure names it.

use std::{
    convert::Infallible,
    env,
    ffi::OsStr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, toolchain};

/// A command to run. Its environment has none of what cargo and rustup set for this process.
#[derive(Debug)]
pub struct Cmd {
    inner: Command,
    /// Variables set here, for the line that is shown.
    shown: Vec<String>,
}

impl Cmd {
    /// A command in the root of the clone.
    pub fn new(context: &Context, program: impl AsRef<OsStr>) -> Self {
        let mut inner = Command::new(program);
        inner.current_dir(context.root()).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if leaks(&name) {
                inner.env_remove(name);
            }
        }
        Self { inner, shown: Vec::new() }
    }

    /// Cargo of the toolchain that this project builds with, building into this context's target directory.
    pub fn cargo(context: &Context) -> Result<Self> {
        let mut command = Self::new(context, "cargo");
        command.inner.env("RUSTUP_TOOLCHAIN", toolchain::name(context)?);
        command.inner.env("CARGO_TARGET_DIR", context.target(""));
        Ok(command)
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.inner.args(arguments);
        self
    }

    /// Sets a variable, and shows it with the command.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.shown.push(format!("{name}={}", quoted(&value.as_ref().to_string_lossy())));
        self.hidden_env(name, value)
    }

    /// Sets a variable that would only clutter the line shown.
    pub fn hidden_env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Runs it elsewhere than in the root of the clone.
    pub fn dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// The command for a caller that needs pipes or a handle of its own.
    pub fn into_inner(self) -> Command {
        self.inner
    }

    /// Shows it and runs it with our output; an exit status other than 0 is an error.
    pub fn run(mut self) -> Result<()> {
        step(&self.line());
        let status = self.inner.status().with_context(|| self.not_started())?;
        self.expect_success(status, "")
    }

    /// Runs it in silence and returns what it printed; on failure the error carries what it said.
    pub fn read(mut self) -> Result<String> {
        let output = self.inner.output().with_context(|| self.not_started())?;
        self.expect_success(output.status, &String::from_utf8_lossy(&output.stderr))?;
        String::from_utf8(output.stdout).with_context(|| format!("`{}` printed invalid UTF-8", self.line()))
    }

    /// Runs it in silence; whether it ended with 0. A program that can't be started is `false`.
    pub fn succeeds(mut self) -> bool {
        self.inner.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Becomes the command, so that signals reach it directly. Returns only an error.
    pub fn exec(mut self) -> Result<Infallible> {
        step(&self.line());
        self.inner.stdin(Stdio::inherit());
        let error = self.inner.exec();
        Err(error).with_context(|| self.not_started())
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.inner.get_program()).chain(self.inner.get_args());
        let words = words.map(|word| quoted(&word.to_string_lossy()));
        self.shown.iter().cloned().chain(words).collect::<Vec<_>>().join(" ")
    }

    fn not_started(&self) -> String {
        format!("starting `{}`: is it installed and on the PATH?", self.inner.get_program().to_string_lossy())
    }

    fn expect_success(&self, status: ExitStatus, said: &str) -> Result<()> {
        match said.trim() {
            _ if status.success() => Ok(()),
            "" => bail!("`{}` failed: {status}", self.line()),
            said => bail!("`{}` failed: {status}\n{said}", self.line()),
        }
    }
}

/// Shows what is being done.
pub fn step(text: &str) {
    anstream::eprintln!("\x1b[1;36m»\x1b[0m {text}");
}

/// Shows something the reader should notice that is no failure.
pub fn note(text: &str) {
    anstream::eprintln!("\x1b[1;33mnote:\x1b[0m {text}");
}

/// A word as a shell would take it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Whether a variable of ours would change what a cargo below us builds: what `cargo run` and rustup set for this
/// process, and a caller's own flags, of which the kernel programs in particular must not see any.
fn leaks(name: &OsStr) -> bool {
    const RUST: [&str; 9] = [
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    // How to reach the registry, where things are kept, and how to print isn't about what is built.
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_", "CARGO_BUILD_JOBS"];
    let name = name.to_string_lossy();
    RUST.contains(&name.as_ref())
        || name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_the_build_does_not_reach_it() {
        for name in [
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "CARGO_MANIFEST_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
        ] {
            assert!(leaks(OsStr::new(name)), "{name}");
        }
        for name in [
            "PATH",
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_X_INDEX",
            "RUST_BACKTRACE",
            "NO_COLOR",
        ] {
            assert!(!leaks(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_a_shell_would_split_is_quoted() {
        assert_eq!(quoted("--config=/etc/a.toml"), "--config=/etc/a.toml");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
