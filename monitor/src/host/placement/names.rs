//! The names that systemd and container runtimes give to control groups.

use super::{Container, Runtime};
use crate::{event::Text, host::escape};

/// Kinds of units that have processes.
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
/// Longest name of a unit (`UNIT_NAME_MAX` of systemd).
const UNIT_BYTES: usize = 255;
/// Prefix of a scope, or of a group, by runtime.
const PREFIXES: [(&str, Runtime, bool); 9] = [
    ("docker-", Runtime::Docker, false),
    ("cri-containerd-", Runtime::Containerd, false),
    ("nerdctl-", Runtime::Containerd, false),
    ("crio-conmon-", Runtime::CriO, true),
    ("crio-", Runtime::CriO, false),
    ("libpod-conmon-", Runtime::Podman, true),
    ("libpod-payload-", Runtime::Podman, false),
    ("conmon-", Runtime::Podman, true),
    ("libpod-", Runtime::Podman, false),
];

/// The name of a unit that has processes, if a group's name is one.
pub fn unit(group: &str) -> Option<&str> {
    // systemd puts an underscore in front of a unit whose name would clash with a file of the kernel (`cpu.service`).
    let name = group.strip_prefix('_').unwrap_or(group);
    let stem = UNITS.iter().find_map(|kind| name.strip_suffix(kind))?;
    is_unit_name(name, stem).then_some(name)
}

/// The name of a slice without `.slice`, if a group's name is that of a slice which systemd would put below `parent` (the
/// empty string: at the top). The parent is a part of its name: `a-b.slice` lies in `a.slice`.
pub fn slice<'a>(group: &'a str, parent: &str) -> Option<&'a str> {
    let name = group.strip_prefix('_').unwrap_or(group);
    let stem = name.strip_suffix(".slice")?;
    let above = stem.rsplit_once('-').map_or("", |(above, _)| above);
    (is_unit_name(name, stem) && above == parent && !stem.ends_with('-')).then_some(stem)
}

fn is_unit_name(name: &str, stem: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    !stem.is_empty() && name.len() <= UNIT_BYTES && name.bytes().all(plain)
}

/// A user's id as systemd writes it.
pub fn uid(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|uid| canonical && *uid != u32::MAX)
}

/// The pod of a slice: `kubepods-burstable-pod<uid>`, below another slice where the kubelet is told so, or Podman's.
pub fn pod_of_slice(slice: &str) -> Option<String> {
    let last = slice.rsplit('-').next()?;
    if let Some(id) = last.strip_prefix("libpod_pod_") {
        return is_hex_id(id).then(|| id.to_owned());
    }
    // A dash would be a level of its own, so the kubelet writes the uid with underscores.
    let uid = last.strip_prefix("pod").filter(|uid| is_pod_uid(uid))?;
    slice.split('-').any(|part| part == "kubepods").then(|| uid.replace('_', "-"))
}

/// The pod of a group that the kubelet made by itself: `pod<uid>`.
pub fn pod_of_group(group: &str) -> Option<String> {
    group.strip_prefix("pod").filter(|uid| is_pod_uid(uid)).map(str::to_owned)
}

fn is_pod_uid(uid: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !uid.is_empty() && uid.len() <= 63 && uid.bytes().all(plain)
}

/// The container that a unit was made for.
pub fn container_of_unit(unit: &str) -> Option<Container> {
    let machine = |name: &str| {
        let id = Text::new(unescape(name));
        Some(Container { runtime: Runtime::Machine, id, monitor: false })
    };
    if let Some(name) = unit.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        return machine(name);
    }
    let scope = unit.strip_suffix(".scope")?;
    match scope.strip_prefix("machine-") {
        Some(name) if !name.is_empty() => machine(name),
        _ => prefixed(scope),
    }
}

/// The container, and its pod, that a group is for which isn't a unit.
pub fn container_of_group(group: &str) -> Option<(Container, Option<String>)> {
    // What a runtime makes that takes systemd's way of naming (`slice:prefix:id`) for a path.
    let mut parts = group.split(':');
    if let (Some(slice), Some(prefix), Some(id), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    {
        let pod = slice.strip_suffix(".slice").and_then(pod_of_slice);
        return Some((prefixed(&format!("{prefix}-{id}"))?, pod));
    }
    prefixed(group).map(|container| (container, None))
}

fn prefixed(name: &str) -> Option<Container> {
    PREFIXES.iter().find_map(|(prefix, runtime, monitor)| {
        let id = name.strip_prefix(prefix).filter(|id| is_hex_id(id))?;
        Some(Container { runtime: *runtime, id: Text::from(id), monitor: *monitor })
    })
}

/// Whether this is an id as runtimes draw them: 256 random bits in hexadecimal.
pub fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this may be the id of a container of containerd, where the caller chooses it.
pub fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = id.as_bytes();
    // The longest that containerd takes.
    bytes.len() <= 76 && bytes.iter().all(|byte| plain(*byte)) && ends(bytes.first()) && ends(bytes.last())
}

/// Undoes systemd's escapes: `-` stands for `/`, which no name of a machine has, so only `\x2d` and the like are left.
fn unescape(name: &str) -> Vec<u8> {
    escape::undo(name.as_bytes(), br"\x", 2, 16)
}
