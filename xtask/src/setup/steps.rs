//! The table of everything that may have to be installed.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::{Context, MUSL},
    shell::Cmd,
    toolchain,
};

/// One thing that a command may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The Rust toolchain itself.
    Toolchain,
    /// Sources of `core`.
    RustSrc,
    /// The linker of the kernel programs.
    BpfLinker,
    /// The target of static binaries.
    Musl,
    /// Lints.
    Clippy,
    /// Formatting.
    Rustfmt,
    /// Checks of licences and sources.
    CargoDeny,
    /// Makes Debian packages.
    CargoDeb,
    /// The emulator that boots other kernels.
    Qemu,
    /// The exec tracer that the benchmarks compare with.
    ExecTracer,
    /// The packet filters that the benchmarks compare with.
    PacketFilters,
    /// Receivers of findings, to test sinks against.
    Receivers,
    /// What operators read metrics with.
    Prometheus,
    /// The terminal that full-screen views are driven in.
    Terminal,
}

/// A row of [`STEPS`].
pub struct Row {
    /// Its name in code.
    pub step: Step,
    /// What is installed, with its version where that is pinned.
    pub name: &'static str,
    /// What for.
    pub why: &'static str,
    /// About how long or how large, for the reader who waits.
    pub cost: &'static str,
    /// Whether it is there; must be quick, since every command asks.
    pub present: fn(&Context) -> Result<bool>,
    /// Makes it present; may be interrupted and repeated.
    pub install: fn(&Context) -> Result<()>,
    /// Whether only root can install it.
    pub root: bool,
    /// What a person can do when installing didn't help.
    pub remedy: &'static str,
}

const BPF_LINKER: &str = "0.10.4";
const CARGO_DENY: &str = "0.20.2";
const CARGO_DEB: &str = "3.8.0";

/// Everything that may be installed, in the order in which it is. Only the rustup components and the Debian
/// packages lie outside the clone.
pub const STEPS: &[Row] = &[
    Row {
        step: Step::Toolchain,
        name: "Rust toolchain",
        why: "compiles both sides; its LLVM must suit the linker of the kernel programs",
        cost: "about 200 MB",
        present: |context| Ok(rustup(context, &["run", toolchain::name(context)?, "rustc", "-V"]).succeeds()),
        install: |context| {
            let name = toolchain::name(context)?;
            rustup(context, &["toolchain", "install", name, "--profile", "minimal"]).run()
        },
        root: false,
        remedy: "see `rustup toolchain list`",
    },
    Row {
        step: Step::RustSrc,
        name: "rustup component rust-src",
        why: "the kernel programs' target has no prebuilt `core`: it is compiled from source",
        cost: "a few seconds",
        present: |context| {
            Ok(toolchain::sysroot(context)?.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists())
        },
        install: |context| component(context, "rust-src"),
        root: false,
        remedy: "see `rustup component list`",
    },
    Row {
        step: Step::BpfLinker,
        name: "bpf-linker 0.10.4",
        why: "links the kernel programs, with the LLVM of the Rust toolchain",
        cost: "compiles for about a minute",
        present: |context| Ok(cargo_installed(context, "bpf-linker", BPF_LINKER)),
        install: |context| cargo_install(context, "bpf-linker", BPF_LINKER),
        root: false,
        remedy: "remove target/tools and try again",
    },
    Row {
        step: Step::Musl,
        name: "rustup target x86_64-unknown-linux-musl",
        why: "static binaries: the programs that tests observe, and what runs in guests",
        cost: "a few seconds",
        present: |context| {
            Ok(toolchain::sysroot(context)?.join("lib/rustlib").join(MUSL).join("lib").is_dir())
        },
        install: |context| {
            rustup(context, &["target", "add", MUSL, "--toolchain", toolchain::name(context)?]).run()
        },
        root: false,
        remedy: "see `rustup target list`",
    },
    Row {
        step: Step::Clippy,
        name: "rustup component clippy",
        why: "lints",
        cost: "a few seconds",
        present: |context| Ok(toolchain::sysroot(context)?.join("bin/cargo-clippy").exists()),
        install: |context| component(context, "clippy"),
        root: false,
        remedy: "see `rustup component list`",
    },
    Row {
        step: Step::Rustfmt,
        name: "rustup component rustfmt",
        why: "checks the formatting",
        cost: "a few seconds",
        present: |context| Ok(toolchain::sysroot(context)?.join("bin/cargo-fmt").exists()),
        install: |context| component(context, "rustfmt"),
        root: false,
        remedy: "see `rustup component list`",
    },
    Row {
        step: Step::CargoDeny,
        name: "cargo-deny 0.20.2",
        why: "checks the licences, sources and versions of dependencies",
        cost: "compiles for two minutes",
        present: |context| Ok(cargo_installed(context, "cargo-deny", CARGO_DENY)),
        install: |context| cargo_install(context, "cargo-deny", CARGO_DENY),
        root: false,
        remedy: "remove target/tools and try again",
    },
    Row {
        step: Step::CargoDeb,
        name: "cargo-deb 3.8.0",
        why: "makes the Debian package",
        cost: "compiles for two minutes",
        present: |context| Ok(cargo_installed(context, "cargo-deb", CARGO_DEB)),
        install: |context| cargo_install(context, "cargo-deb", CARGO_DEB),
        root: false,
        remedy: "remove target/tools and try again",
    },
    Row {
        step: Step::Qemu,
        name: "Debian package qemu-system-x86",
        why: "boots other kernels to test on; emulates, needs no /dev/kvm",
        cost: "about 60 MB",
        present: |_| Ok(on_path("qemu-system-x86_64")),
        install: |context| apt(context, &["qemu-system-x86"]),
        root: true,
        remedy: "see `apt-cache policy qemu-system-x86`",
    },
    Row {
        step: Step::ExecTracer,
        name: "Debian package libbpf-tools",
        why: "its execsnoop is what benchmarks compare the agent with",
        cost: "about 20 MB",
        // Root's programs: not on everybody's PATH, and where the benchmark starts it.
        present: |_| Ok(Path::new("/usr/sbin/execsnoop").is_file()),
        install: |context| apt(context, &["libbpf-tools"]),
        root: true,
        remedy: "see `apt-cache policy libbpf-tools`",
    },
    Row {
        step: Step::PacketFilters,
        name: "Debian packages nftables and iptables",
        why: "their rate limits are what benchmarks compare the agent's with",
        cost: "about 5 MB",
        present: |_| Ok(["nft", "iptables"].iter().all(|name| Path::new("/usr/sbin").join(name).is_file())),
        install: |context| apt(context, &["nftables", "iptables"]),
        root: true,
        remedy: "see `apt-cache policy nftables iptables`",
    },
    Row {
        step: Step::Receivers,
        name: "Debian packages rsyslog, rsyslog-gnutls, prometheus-alertmanager and openssl",
        why: "receive findings in tests as an operator's do",
        cost: "about 40 MB",
        present: |_| {
            let there = ["prometheus-alertmanager", "openssl"].iter().all(|name| on_path(name));
            let libraries = Path::new("/usr/lib/x86_64-linux-gnu/rsyslog");
            Ok(there
                && Path::new("/usr/sbin/rsyslogd").is_file()
                && libraries.join("lmnsd_gtls.so").is_file())
        },
        install: |context| apt(context, &["rsyslog", "rsyslog-gnutls", "prometheus-alertmanager", "openssl"]),
        root: true,
        remedy: "see `apt-cache policy rsyslog rsyslog-gnutls prometheus-alertmanager`",
    },
    Row {
        step: Step::Prometheus,
        name: "Debian packages prometheus and prometheus-alertmanager",
        why: "check the alert rules, and read the agent's metrics in tests as an operator's do",
        cost: "about 50 MB",
        present: |_| {
            Ok(["prometheus", "promtool", "prometheus-alertmanager"].iter().all(|name| on_path(name)))
        },
        install: |context| apt(context, &["prometheus", "prometheus-alertmanager"]),
        root: true,
        remedy: "see `apt-cache policy prometheus prometheus-alertmanager`",
    },
    Row {
        step: Step::Terminal,
        name: "Debian package tmux",
        why: "a terminal in which `monitor top` is driven as a person would",
        cost: "about 1 MB",
        present: |_| Ok(on_path("tmux")),
        install: |context| apt(context, &["tmux"]),
        root: true,
        remedy: "see `apt-cache policy tmux`",
    },
];

fn rustup(context: &Context, arguments: &[&str]) -> Cmd {
    Cmd::new(context, "rustup").args(arguments)
}

fn component(context: &Context, name: &str) -> Result<()> {
    rustup(context, &["component", "add", name, "--toolchain", toolchain::name(context)?]).run()
}

/// Cargo's own record is written last, so an interrupted installation isn't taken for a finished one.
fn cargo_installed(context: &Context, package: &str, version: &str) -> bool {
    let record = fs::read_to_string(context.tools().join(".crates.toml")).unwrap_or_default();
    record.contains(&format!("\"{package} {version} ")) && context.tools().join("bin").join(package).exists()
}

fn cargo_install(context: &Context, package: &str, version: &str) -> Result<()> {
    // `--force` replaces another version, and what an interrupted installation left.
    // Unoptimised: these tools run for a second, and compiling them is what takes time.
    let cargo = Cmd::cargo(context)?.args([
        "install",
        package,
        "--version",
        version,
        "--locked",
        "--debug",
        "--force",
    ]);
    // Not in this clone's target directory: another cargo may hold its lock for long.
    let build = context.tools().join("build");
    cargo.arg("--root").arg(context.tools()).hidden_env("CARGO_TARGET_DIR", &build).run()?;
    fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn apt(context: &Context, packages: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        bail!(
            "this isn't a Debian system: install what provides {} with its package manager",
            packages.join(", ")
        );
    }
    if !context.is_root() {
        let packages = packages.join(" ");
        bail!(
            "only root installs packages: run `sudo apt-get update && sudo apt-get install --no-install-recommends {packages}`"
        );
    }
    let command = |arguments: &[&str]| {
        Cmd::new(context, "apt-get").hidden_env("DEBIAN_FRONTEND", "noninteractive").args(arguments)
    };
    let install = || command(&["install", "--yes", "--no-install-recommends"]).args(packages);
    // Fresh machines have no lists, old ones point at packages that are gone.
    if install().arg("--simulate").succeeds() && install().run().is_ok() {
        return Ok(());
    }
    command(&["update"]).run()?;
    install().run()
}
