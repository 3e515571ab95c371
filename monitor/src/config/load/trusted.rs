//! Whether a configuration may be acted on: nobody but root and the user of this process may have written it.

use std::path::{Path, PathBuf};

use super::super::diagnostic::{Diagnostic, Severity};
use crate::host::trust::{self, Untrusted};

/// What others may change of these files and of the `policy.d` beside each; a directory that all of them lie in is named once.
pub(super) fn diagnostics(files: &[PathBuf]) -> Vec<Diagnostic> {
    let mut culprits: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    for (order, path) in files.iter().enumerate() {
        // Also an empty one: somebody could put rules there before the configuration is read again.
        let fragments = path.with_file_name("policy.d");
        for path in std::iter::once(path).chain(fragments.is_dir().then_some(&fragments)) {
            let diagnostic = match trust::check(path) {
                Ok(Ok(())) => continue,
                Ok(Err(untrusted)) if culprits.contains(&untrusted.path) => continue,
                Ok(Err(untrusted)) => {
                    culprits.push(untrusted.path.clone());
                    refusal(order, path, &untrusted)
                }
                Err(error) => {
                    let message = format!("can't tell who may write it: {error}");
                    Diagnostic::file(Severity::Error, order, path, message)
                        .help("check the path and the disk")
                }
            };
            found.push(diagnostic);
        }
    }
    found
}

fn refusal(order: usize, path: &Path, untrusted: &Untrusted) -> Diagnostic {
    let message = format!(
        "others than root and the user of the agent may change it, so the agent doesn't act on it: {untrusted}"
    );
    Diagnostic::file(Severity::Error, order, path, message).help(untrusted.remedy())
}
