//! Lists of all that may be executed: what they allow beside what they name, and scripts that they would break.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::policy::Policy;
use super::{Lints, files};
use crate::config::model::{Exec, ListKind, Pattern};
use crate::config::source::{Spanned, quoted};
use crate::config::suggest::list;

/// Programs that run whatever text they are given; versions at the end of their names are left out.
const INTERPRETERS: [&str; 31] = [
    "ash",
    "awk",
    "bash",
    "busybox",
    "csh",
    "dash",
    "expect",
    "fish",
    "gawk",
    "ksh",
    "lksh",
    "lua",
    "luajit",
    "mawk",
    "mksh",
    "nawk",
    "node",
    "nodejs",
    "original-awk",
    "perl",
    "php",
    "pypy",
    "python",
    "rbash",
    "ruby",
    "rzsh",
    "sh",
    "tclsh",
    "tcsh",
    "wish",
    "zsh",
];
/// Where interpreters are looked for that a glob may match.
const DIRECTORIES: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// So many are shown.
const SHOWN: usize = 3;

pub(super) fn check(lints: &mut Lints, policy: &Policy) {
    let config = lints.config;
    for (index, rule) in config.execs.iter().enumerate().filter(|(_, rule)| rule.list == ListKind::Allow) {
        for pattern in &rule.files {
            interpreter(lints, pattern);
            script(lints, policy, index, pattern);
        }
        matched(lints, policy, index, rule);
    }
}

const NOT_ANY_SCRIPT: &str = "list a program that does only what is needed; or stop other uses in a rule before this one: `deny` with `args`, such as `contains = [\"-c\"]`";

/// Warns if a path names an interpreter, also by a link to it.
fn interpreter(lints: &mut Lints, pattern: &Spanned<Pattern>) {
    let Pattern::Path(text) = &pattern.value else { return };
    let path = Path::new(text);
    if is_interpreter(path) || fs::canonicalize(path).is_ok_and(|real| is_interpreter(&real)) {
        let message = format!("{} is an interpreter: who may execute it may run any script", quoted(text));
        lints.warn(&pattern.place, message, NOT_ANY_SCRIPT);
    }
}

/// Warns about interpreters of this host that the list has by a glob; those that it names are reported by themselves.
fn matched(lints: &mut Lints, policy: &Policy, index: usize, rule: &Exec) {
    let Some(tree) = &lints.facts.tree else { return };
    if !rule.files.iter().any(|pattern| matches!(pattern.value, Pattern::Glob(_))) {
        return;
    }
    let named = rule.files.iter().filter_map(|pattern| match &pattern.value {
        Pattern::Path(path) => Some(tree.resolve(Path::new(path)).ok()?.path),
        _ => None,
    });
    let named: Vec<_> = named.collect();
    let entries = DIRECTORIES.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let mut found = BTreeSet::new();
    for path in entries.map(|entry| entry.path()).filter(|path| is_interpreter(path)) {
        let Ok(real) = tree.resolve(&path) else { continue };
        let listed = policy.lists(index, &real.exe, Some(real.path.as_os_str().as_encoded_bytes()), &[]);
        if listed && !named.contains(&real.path) {
            found.insert(real.path.to_string_lossy().into_owned());
        }
    }
    if !found.is_empty() {
        let message =
            format!("{} allows interpreters, which run any script: {}", quoted(&rule.name), examples(&found));
        lints.warn(&rule.place, message, NOT_ANY_SCRIPT);
    }
}

/// Warns about a script whose interpreter is not on the same list.
fn script(lints: &mut Lints, policy: &Policy, index: usize, pattern: &Spanned<Pattern>) {
    let (Pattern::Path(text), Some(tree)) = (&pattern.value, &lints.facts.tree) else { return };
    let Some(interpreter) = files::interpreter(Path::new(text)) else { return };
    let Ok(real) = tree.resolve(Path::new(&interpreter)) else { return };
    if policy.lists(index, &real.exe, Some(real.path.as_os_str().as_encoded_bytes()), &[]) {
        return;
    }
    let message = format!(
        "would break: {} is a script for {}, which the same list doesn't allow",
        quoted(text),
        quoted(&interpreter)
    );
    let help = "add the interpreter, which may run any script then, or replace the script by a program";
    lints.warn(&pattern.place, message, help);
}

fn is_interpreter(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    INTERPRETERS.binary_search(&name).is_ok()
}

/// The first ones, and how many more there are.
pub(super) fn examples(found: &BTreeSet<String>) -> String {
    let shown = list(found.iter().take(SHOWN).map(String::as_str));
    match found.len() {
        count if count > SHOWN => format!("{shown} and {} more", count - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_known_in_all_versions() {
        assert!(INTERPRETERS.is_sorted());
        for name in
            ["sh", "bash", "ksh93", "python3", "python3.11", "perl5.36.0", "php8.2", "lua5.4", "tclsh8.6"]
        {
            assert!(is_interpreter(&Path::new("/usr/bin").join(name)), "{name}");
        }
        for name in ["bashful", "shred", "nodetool", "pg_dump", "3", ""] {
            assert!(!is_interpreter(&Path::new("/usr/bin").join(name)), "{name}");
        }
    }
}
