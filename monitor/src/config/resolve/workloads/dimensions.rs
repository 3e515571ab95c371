//! What a workload says about its members.

use crate::config::limits::{MAX_GLOB_BYTES, MAX_UNIT_BYTES};
use crate::config::model::{Pattern, Workload};
use crate::config::pattern::{self, Wrong, is_glob};
use crate::config::raw::{self, At};
use crate::config::resolve::Checker;
use crate::config::resolve::lists::{List, accounts, patterns};
use crate::config::resolve::settings::cgroup;
use crate::config::source::{is_printable, quoted};

/// The types of units that may have processes.
const UNIT_TYPES: [&str; 6] = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];

/// Everything but `parents` and `ancestors`.
pub(super) fn workload(file: &mut Checker, raw: &At<raw::Workload>, name: &str) -> Workload {
    let At { value: workload, span } = raw;
    let exe = List { key: "exe", empty: Some("list at least one path or glob"), many: "use globs" };
    let unit = List { key: "unit", empty: Some("list at least one unit"), many: "use globs" };
    let groups = List { key: "cgroup", empty: Some("list at least one cgroup"), many: "use globs" };
    let exe = workload.exe.given().map(|raw| patterns(file, raw, &exe, false)).unwrap_or_default();
    let found = Workload {
        name: name.to_owned(),
        sha256: sha256(file, workload, &exe.iter().map(|exe| &exe.value).collect::<Vec<_>>()),
        exe,
        users: workload.user.given().map(|raw| accounts(file, raw, "user")).unwrap_or_default(),
        groups: workload.group.given().map(|raw| accounts(file, raw, "group")).unwrap_or_default(),
        units: match workload.unit.given() {
            Some(raw) => file.entries(raw, &unit, |text| check_unit(text)),
            None => Vec::new(),
        },
        cgroups: match workload.cgroup.given() {
            Some(raw) => file.entries(raw, &groups, |text| cgroup_or_glob(text)),
            None => Vec::new(),
        },
        parents: Vec::new(),
        ancestors: Vec::new(),
        descendants: workload.descendants.or(false),
        place: file.place(*span),
    };
    let none = workload.exe.is_absent()
        && workload.user.is_absent()
        && workload.group.is_absent()
        && workload.unit.is_absent()
        && workload.cgroup.is_absent()
        && workload.parent.is_absent()
        && workload.ancestor.is_absent();
    if none && !file.parsed.is_broken(*span) {
        let help = "say who belongs to it: `exe = [\"/usr/bin/api-server\"]`, `unit = [\"api.service\"]`, `user = [\"app\"]`, or another of `group`, `cgroup`, `parent`, `ancestor`";
        file.error(file.header(*span), "a workload needs at least one dimension", help);
    }
    found
}

/// Reports a list of workloads that is empty, where that means nothing.
pub(super) fn refuse_empty(file: &mut Checker, names: &At<raw::List<String>>, key: &str) {
    if names.value.items.is_empty() && !names.value.incomplete {
        let message = format!("`{key}` is empty and would match nothing");
        file.error(names.span, message, "list at least one workload, or remove the key");
    }
}

fn sha256(file: &mut Checker, workload: &raw::Workload, exe: &[&Pattern]) -> Vec<[u8; 32]> {
    let Some(raw) = workload.sha256.given() else { return Vec::new() };
    if workload.exe.is_absent() {
        let help = "add the paths of the files in `exe`";
        file.error(raw.span, "`sha256` needs `exe`", help);
    }
    if let Some(Pattern::Glob(glob)) = exe.iter().find(|exe| matches!(exe, Pattern::Glob(_))) {
        let message = format!("`sha256` needs plain paths in `exe`, but {} is a glob", quoted(glob));
        file.error(raw.span, message, "list each file by its path, or remove `sha256`");
    }
    let empty = Some("list at least one digest, or remove the key");
    let list = List { key: "sha256", empty, many: "write two workloads" };
    file.entries(raw, &list, |text| digest(text)).into_iter().map(|digest| digest.value).collect()
}

fn digest(text: &str) -> Result<[u8; 32], Wrong> {
    let wrong = || {
        let help = "write what `sha256sum FILE` prints: 64 hexadecimal digits";
        (format!("{} is no SHA-256", quoted(text)), help.into())
    };
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        let digits = text.get(at..at + 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

fn check_unit(text: &str) -> Result<String, Wrong> {
    let example = || "write the name that `systemctl status` shows, such as `api.service`".to_owned();
    if text.is_empty() {
        return Err(("the unit is empty".into(), example()));
    }
    if text.len() > MAX_UNIT_BYTES {
        let message = format!("the unit is {} bytes long, at most {MAX_UNIT_BYTES} are allowed", text.len());
        return Err((message, "no unit has a longer name; use a glob for a part of it".into()));
    }
    if text.contains('/') {
        let help = "write the unit's name without a path, or use `cgroup`";
        return Err((format!("the unit {} contains `/`", quoted(text)), help.into()));
    }
    if text.chars().any(|c| !is_printable(c) || c.is_whitespace()) {
        return Err((format!("{} can't be the name of a unit", quoted(text)), example()));
    }
    if text.contains("**") {
        return Err((
            format!("`**` has no meaning in the unit {}", quoted(text)),
            "write a single `*`".into(),
        ));
    }
    if is_glob(text) {
        pattern::check_part(text)?;
    } else if !UNIT_TYPES.iter().any(|suffix| text.len() > suffix.len() && text.ends_with(suffix)) {
        let message = format!("the unit {} has no type that has processes", quoted(text));
        let base = text.split_once('.').map_or(text, |(base, _)| base);
        let instead =
            if base.is_empty() { example() } else { format!("write {}", quoted(&format!("{base}.service"))) };
        return Err((message, instead));
    }
    Ok(text.to_owned())
}

fn cgroup_or_glob(text: &str) -> Result<String, Wrong> {
    let path = cgroup(text)?;
    if !is_glob(&path) {
        return Ok(path);
    }
    pattern::check_glob(&path)?;
    if path.len() > MAX_GLOB_BYTES {
        let message = format!("the glob is {} bytes long, at most {MAX_GLOB_BYTES} are allowed", path.len());
        return Err((message, "longer paths aren't compared; use `**` for a part of it".into()));
    }
    Ok(path)
}
