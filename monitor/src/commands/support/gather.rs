//! What goes into the archive. What others wrote (findings, bans) doesn't: it is about people, not about the agent.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};

use super::Part;
use crate::{
    config::{Config, DEFAULT_PATH},
    kernel::object,
};

/// Bytes of one file, at most.
const MOST: u64 = 4 << 20;
/// Lines of the log.
const LINES: &str = "5000";

/// Files of the kernel that say what it is and what it can do.
const KERNEL: [&str; 9] = [
    "/proc/version",
    "/etc/os-release",
    "/proc/sys/kernel/ftrace_enabled",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/net/core/bpf_jit_enable",
    "/sys/kernel/security/lsm",
    "/sys/kernel/security/lockdown",
    "/proc/loadavg",
    "/proc/meminfo",
];

pub(super) fn everything(main: Option<&Path>, config: Option<&Config>) -> Vec<Part> {
    let mut parts = vec![
        part("version.txt", Ok(version())),
        part("kernel.txt", Ok(kernel())),
        part("doctor.txt", ourselves(&["doctor"])),
        part("programs.txt", ourselves(&["doctor", "--programs"])),
        part("metrics.txt", metrics(config)),
        part("agent.txt", Ok(agents())),
        part("log.txt", log()),
    ];
    let files = match config {
        Some(config) => config.sources.iter().map(|source| source.path.clone()).collect(),
        None => vec![main.map_or_else(|| PathBuf::from(DEFAULT_PATH), Path::to_owned)],
    };
    for (at, path) in files.iter().filter(|path| path.is_absolute() || path.exists()).enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parts.push(part(&format!("config/{at}-{name}"), file(path)));
    }
    let said = files.first().map(|path| ourselves(&["check", &path.to_string_lossy()]));
    parts.extend(said.map(|said| part("check.txt", said)));
    parts
}

/// A part, or why it isn't there.
fn part(name: &str, text: Result<Vec<u8>>) -> Part {
    let text = text.unwrap_or_else(|error| format!("not gathered: {error:#}\n").into_bytes());
    Part { name: name.to_owned(), text }
}

fn version() -> Vec<u8> {
    format!("monitor {}\nkernel programs: sha256 {}\n", env!("CARGO_PKG_VERSION"), object::sha256())
        .into_bytes()
}

fn file(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

fn kernel() -> Vec<u8> {
    let mut text = Vec::new();
    for path in KERNEL {
        text.extend_from_slice(format!("== {path}\n").as_bytes());
        match file(Path::new(path)) {
            Ok(content) => text.extend_from_slice(&content),
            Err(error) => text.extend_from_slice(format!("not read: {error}").as_bytes()),
        }
        text.push(b'\n');
    }
    let btf = fs::metadata("/sys/kernel/btf/vmlinux").map(|found| found.len());
    text.extend_from_slice(format!("== BTF\n{btf:?}\n== mounts\n").as_bytes());
    // Those that the agent works with; others are nobody's business.
    let mounts = fs::read_to_string("/proc/1/mounts").unwrap_or_default();
    let ours =
        |line: &&str| ["cgroup", "bpf", "securityfs", "tracefs"].iter().any(|kind| line.contains(kind));
    for line in mounts.lines().filter(ours) {
        text.extend_from_slice(format!("{line}\n").as_bytes());
    }
    text
}

/// What the kernel says of agents that run: their privileges and what they take.
fn agents() -> Vec<u8> {
    let mut text = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        if fs::read(path.join("comm")).is_ok_and(|comm| comm == b"monitor\n") {
            text.extend_from_slice(&fs::read(path.join("status")).unwrap_or_default());
            text.push(b'\n');
        }
    }
    text
}

/// Another command of ours, in a process of its own: what it says also when it fails.
fn ourselves(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("/proc/self/exe").args(arguments).stdin(Stdio::null()).output()?;
    let end = format!("\n== ended with {}\n", output.status);
    Ok([output.stdout, output.stderr, end.into_bytes()].concat())
}

/// What the agent wrote to the journal.
fn log() -> Result<Vec<u8>> {
    let journal = Command::new("journalctl")
        .args(["--unit", "monitor", "--lines", LINES, "--no-pager", "--output", "short-iso"])
        .stdin(Stdio::null())
        .output();
    match journal {
        // Findings of a sink that writes there are about others.
        Ok(output) => Ok(output
            .stdout
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !line.windows(8).any(|part| part == b"\"type\":\""))
            .flatten()
            .copied()
            .collect()),
        Err(error) => bail!("no journal: {error}; add what the agent wrote to its standard error"),
    }
}

/// The metrics of a running agent, asked for in the clear at this host.
fn metrics(config: Option<&Config>) -> Result<Vec<u8>> {
    let listen =
        config.map_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9469)), |config| config.metrics.listen);
    if config.is_some_and(|config| config.metrics.web_config.is_some()) {
        bail!("[metrics] web_config asks for what only scrapers have");
    }
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    let wait = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port()), wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    Ok(answer)
}
