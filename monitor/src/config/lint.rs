//! What is doubtful about a configuration on this host: needs the disk, but no privileges.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::load::Loaded;
use super::model::{Config, Mode, Pattern, Sink, Target};
use super::source::{Place, Spanned, printable_path, quoted};

const OTHERS_MAY_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Adds warnings about workloads that nothing uses, paths that don't exist, and files that anybody may
/// change.
pub fn lint(loaded: &mut Loaded) {
    for path in loaded.paths() {
        if let Some(culprit) = writable_by_others(&path) {
            let place = Place { file: path, line: 1, column: 1 };
            loaded.warn(
                &place,
                changeable("configuration", &culprit),
                "take write permission from others: `chmod o-w`",
            );
        }
    }
    let Some(config) = loaded.config.take() else { return };
    for index in unused(&config) {
        let workload = &config.workloads[index];
        let message = format!("nothing uses the workload {}", quoted(&workload.name));
        loaded.warn(&workload.place, message, "name it in `clients` or `by` of a rule, or remove it");
    }
    for pattern in config.workloads.iter().flat_map(|workload| &workload.exe) {
        lint_path(loaded, pattern, true);
    }
    for pattern in config.execs.iter().flat_map(|exec| &exec.files) {
        lint_path(loaded, pattern, false);
    }
    for rule in config
        .databases
        .iter()
        .filter(|rule| rule.clients.as_ref().is_some_and(Vec::is_empty) && rule.mode == Mode::Enforce)
    {
        let message = format!("nobody on this host may connect to the ports of {}", quoted(&rule.name));
        loaded.warn(&rule.place, message, "if that isn't meant, name workloads in `clients`");
    }
    for sink in &config.sinks {
        lint_sink(loaded, sink);
    }
    loaded.config = Some(config);
    loaded.diagnostics.sort_by_key(Diagnostic::order);
}

/// Warns about a file in a directory that doesn't exist: the agent makes none, and wouldn't start.
fn lint_sink(loaded: &mut Loaded, sink: &Sink) {
    let Target::File(path) = &sink.target else { return };
    let Some(directory) = path.parent().filter(|directory| !directory.exists()) else { return };
    let shown = printable_path(directory);
    let message = format!("the directory {} doesn't exist on this host", quoted(&shown));
    loaded.warn(&sink.place, message, &format!("make it: `mkdir -p -m 0750 {shown}`"));
}

/// Indices of the workloads that no rule names.
fn unused(config: &Config) -> Vec<usize> {
    let mut used = vec![false; config.workloads.len()];
    let clients = config.databases.iter().filter_map(|rule| rule.clients.as_ref()).flatten();
    let by = config.execs.iter().filter_map(|rule| rule.by.as_ref()).flatten();
    for index in clients.chain(by) {
        if let Some(slot) = used.get_mut(*index) {
            *slot = true;
        }
    }
    used.iter().enumerate().filter(|(_, used)| !**used).map(|(index, _)| index).collect()
}

fn lint_path(loaded: &mut Loaded, pattern: &Spanned<Pattern>, is_identity: bool) {
    let Pattern::Path(text) = &pattern.value else { return };
    let path = Path::new(text);
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("{} does not exist on this host", quoted(text));
            loaded.warn(&pattern.place, message, "check the path; a plain path names the file that is there");
        }
        // Whoever may replace an executable may act as the workload. For a deny-list a copy does the same.
        Ok(_) if is_identity => {
            if let Some(culprit) = writable_by_others(path) {
                let help =
                    "take write permission from others: `chmod o-w`; else anybody can act as this workload";
                loaded.warn(&pattern.place, changeable("executable", &culprit), help);
            }
        }
        _ => {}
    }
}

fn changeable(what: &str, culprit: &Path) -> String {
    format!("any user may change this {what}: `{}` is writable by others", printable_path(culprit))
}

/// The file or a directory above it, or above a link to it, that any user may write to. A sticky directory
/// like `/tmp` doesn't let others replace a file of somebody else.
fn writable_by_others(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    let above_link = path.ancestors().skip(1).filter(|part| part.is_absolute());
    real.ancestors().chain(above_link).find_map(|part| {
        let metadata = fs::metadata(part).ok()?;
        let sticky_directory = metadata.is_dir() && metadata.mode() & STICKY != 0;
        (metadata.mode() & OTHERS_MAY_WRITE != 0 && !sticky_directory).then(|| part.to_owned())
    })
}
