//! Files that policy names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Lints;
use crate::config::model::{Database, FileSink, ListKind, Pattern, Sink, Target, Workload};
use crate::config::source::{Spanned, printable_path, quoted};

const OTHERS_MAY_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// Larger files aren't read to compare their hash, in bytes.
const MAX_HASHED: u64 = 256 << 20;
/// So much of a script's first line is read, in bytes: what the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

pub(super) fn check(lints: &mut Lints) {
    let config = lints.config;
    for workload in &config.workloads {
        let help = "choose the members by `unit`, `user` or `cgroup` instead";
        for pattern in &workload.exe {
            path(lints, pattern, Some("else anybody can act as this workload"));
            script(lints, pattern, help);
        }
        digests(lints, workload);
    }
    for rule in &config.execs {
        let allows = rule.list == ListKind::Allow;
        let help =
            "deny its interpreter, with the script's name in `args`: `args = { contains = [\"...\"] }`";
        for pattern in &rule.files {
            path(lints, pattern, allows.then_some("else the list allows what anybody puts there"));
            if !allows {
                script(lints, pattern, help);
            }
        }
    }
    for rule in &config.databases {
        rule.sockets.iter().for_each(|pattern| socket(lints, rule, pattern));
    }
    config.sinks.iter().for_each(|to| sink(lints, to));
}

/// Warns about a file in a directory that doesn't exist: the agent makes none, and wouldn't start.
fn sink(lints: &mut Lints, sink: &Sink) {
    let Target::File(FileSink { path, .. }) = &sink.target else { return };
    let Some(directory) = path.parent().filter(|directory| !directory.exists()) else { return };
    let shown = printable_path(directory);
    let message = format!("the directory {} doesn't exist on this host", quoted(&shown));
    lints.warn(&sink.place, message, format!("make it: `mkdir -p -m 0750 {shown}`"));
}

/// Warns about a file that doesn't exist, and about one that others may change if that has a consequence.
fn path(lints: &mut Lints, pattern: &Spanned<Pattern>, consequence: Option<&str>) {
    let Pattern::Path(text) = &pattern.value else { return };
    let path = Path::new(text);
    match (fs::metadata(path), consequence) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("{} does not exist on this host", quoted(text));
            lints.warn(&pattern.place, message, "check the path; a plain path names the file that is there");
        }
        // For a deny-list, a copy does the same.
        (Ok(_), Some(consequence)) => {
            if let Some(culprit) = writable_by_others(path) {
                let help = format!("take write permission from others: `chmod o-w`; {consequence}");
                lints.warn(&pattern.place, changeable("executable", &culprit), help);
            }
        }
        _ => {}
    }
}

/// Without BPF LSM, only the interpreter of a script is seen.
fn script(lints: &mut Lints, pattern: &Spanned<Pattern>, instead: &str) {
    let (Pattern::Path(path), Some((_, remedy))) = (&pattern.value, lints.facts.no_lsm()) else { return };
    let Some(interpreter) = interpreter(Path::new(path)) else { return };
    let message = format!(
        "{} is a script: without BPF LSM it is known only by its interpreter, {}",
        quoted(path),
        quoted(&interpreter)
    );
    lints.warn(&pattern.place, message, format!("{instead}; or {remedy}"));
}

/// The interpreter that the first line of a script names, if the file is one and may be read.
pub(super) fn interpreter(path: &Path) -> Option<String> {
    // Opening a device or a pipe does something to it.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut start = Vec::new();
    File::open(path).ok()?.take(FIRST_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    String::from_utf8_lossy(line).split_ascii_whitespace().next().map(str::to_owned)
}

/// Warns about a file whose content is none of those that its workload asks for.
fn digests(lints: &mut Lints, workload: &Workload) {
    if workload.sha256.is_empty() {
        return;
    }
    for exe in &workload.exe {
        let Pattern::Path(path) = &exe.value else { continue };
        let Some(digest) = digest(Path::new(path)) else { continue };
        if !workload.sha256.contains(&digest) {
            let message = format!("the content of {} is none of those in `sha256`", quoted(path));
            let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            lints.warn(&exe.place, message, format!("if it is the right file, add `\"{digits}\"`"));
        }
    }
}

/// SHA-256 of a regular file that may be read and isn't large.
fn digest(path: &Path) -> Option<[u8; 32]> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_HASHED {
        return None;
    }
    let mut file = File::open(path).ok()?.take(MAX_HASHED);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hash.finalize().into()),
            count => hash.update(buffer.get(..count)?),
        }
    }
}

fn socket(lints: &mut Lints, rule: &Database, pattern: &Spanned<Pattern>) {
    let Pattern::Path(text) = &pattern.value else { return };
    let path = Path::new(text);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let help = "check the path; the socket is there only while its server runs";
            lints.warn(&pattern.place, format!("{} does not exist on this host", quoted(text)), help);
        }
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let message = format!("{} is not a unix socket", quoted(text));
            lints.warn(&pattern.place, message, "write the path that `ss -xl` shows");
        }
        _ => {}
    }
    // Even in a sticky directory anybody may be the first to make it.
    let open =
        |directory: &&Path| fs::metadata(directory).is_ok_and(|found| found.mode() & OTHERS_MAY_WRITE != 0);
    if let (Some(directory), None) = (path.parent().filter(open), &rule.servers) {
        let message =
            format!("any user may make this socket: `{}` is writable by others", printable_path(directory));
        let help = "say who may listen with `servers`, or have the socket in a directory of its server";
        lints.warn(&pattern.place, message, help);
    }
}

pub(super) fn changeable(what: &str, culprit: &Path) -> String {
    format!("any user may change this {what}: `{}` is writable by others", printable_path(culprit))
}

/// The file or a directory above it, or above a link to it, that any user may write to. A sticky directory
/// like `/tmp` doesn't let others replace a file of somebody else.
pub(super) fn writable_by_others(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    let above_link = path.ancestors().skip(1).filter(|part| part.is_absolute());
    real.ancestors().chain(above_link).find_map(|part| {
        let metadata = fs::metadata(part).ok()?;
        let sticky_directory = metadata.is_dir() && metadata.mode() & STICKY != 0;
        (metadata.mode() & OTHERS_MAY_WRITE != 0 && !sticky_directory).then(|| part.to_owned())
    })
}
