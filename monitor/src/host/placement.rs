//! What a control group belongs to, read off its path: a systemd unit, a container, a pod, a user.
//!
//! Who may make a group decides what its name is worth. The groups of `*.slice` and those right below them are made by
//! systemd or by root. Below a unit the names are that unit's own choice, and a user chooses every name below his
//! `user@UID.service`. So the unit is the first component that is not a slice, and a container is looked for in three
//! places only: where root made the group, right below a system unit, and among a user's own units. Whatever lies below a
//! container or a unit can't change what was found before.

mod names;

#[cfg(test)]
mod tests;

use std::str;

use crate::event::Text;

/// What a control group belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The unit of the host's systemd, spelled as `systemctl` shows it (its escapes, `\x2d`, are a part of the name). Nobody
    /// but root can make a process belong to one.
    pub unit: Option<String>,
    /// The container. Its id is the word of `user`, if there is one, or of `unit`, if the unit isn't the container's own.
    pub container: Option<Container>,
    /// Id of the pod (Kubernetes, with dashes; or Podman's), as trustworthy as the container.
    pub pod: Option<String>,
    /// The user whose session or service manager it is.
    pub user: Option<u32>,
    /// The unit of that user's own service manager. The user chooses this name at will: never decide from it.
    pub user_unit: Option<String>,
}

/// A container or virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Its id, or its name where the path has that.
    pub id: Text,
    /// Whether this is the runtime's process that watches over the container from outside (`conmon`).
    pub monitor: bool,
}

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, by itself or for Kubernetes.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman, or another user of libpod.
    Podman,
    /// A runtime of Kubernetes; the path doesn't say which.
    Kubernetes,
    /// Registered with systemd-machined: nspawn, or a virtual machine of libvirt.
    Machine,
    /// LXC, LXD, Incus or Proxmox.
    Lxc,
}

impl Runtime {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Kubernetes => "kubernetes",
            Self::Machine => "machine",
            Self::Lxc => "lxc",
        }
    }
}

impl Placement {
    /// Reads the path of a group, relative to the mount of the cgroup v2 tree. Total: a path that means nothing to us
    /// gives an empty placement.
    #[must_use]
    pub fn of(path: &[u8]) -> Self {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let mut found = Self::default();
        let below = found.slices(&parts);
        let Some((name, inner)) = below.split_first() else { return found };
        match str::from_utf8(name).ok().and_then(names::unit) {
            Some(unit) => found.in_unit(unit, inner),
            // No unit below slices is systemd's doing. At the top nobody but root makes groups.
            None if below.len() == parts.len() => found.in_plain_group(name, inner),
            None => found.in_named(name),
        }
        found
    }

    /// Walks down the slices, and returns what lies below the last one.
    fn slices<'a, 'b>(&mut self, parts: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
        let mut parent = "";
        for (index, part) in parts.iter().enumerate() {
            let Some(slice) = str::from_utf8(part).ok().and_then(|part| names::slice(part, parent)) else {
                return &parts[index..];
            };
            if self.pod.is_none() {
                self.pod = names::pod_of_slice(slice);
            }
            if index == 1 && parent == "user" {
                self.user = slice.strip_prefix("user-").and_then(names::uid);
            }
            parent = slice;
        }
        &[]
    }

    /// In a unit of the host's systemd.
    fn in_unit(&mut self, unit: &str, inner: &[&[u8]]) {
        self.unit = Some(unit.to_owned());
        let manager = unit.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service"));
        if let Some(uid) = manager.and_then(names::uid) {
            self.user = Some(uid);
            return self.in_users_tree(inner);
        }
        self.container = names::container_of_unit(unit);
        if let (None, Some(name)) = (&self.container, inner.first()) {
            self.in_named(name);
        }
    }

    /// Below a user's service manager, where the user makes groups of any name.
    fn in_users_tree(&mut self, parts: &[&[u8]]) {
        let mut claimed = Self::default();
        let below = claimed.slices(parts);
        let unit = below.first().and_then(|name| names::unit(str::from_utf8(name).ok()?));
        self.container = unit.and_then(names::container_of_unit);
        self.pod = claimed.pod;
        self.user_unit = unit.map(str::to_owned);
        if let (None, Some(name)) = (&self.container, below.get(usize::from(unit.is_some()))) {
            self.in_named(name);
        }
    }

    /// In a group whose own name may say which container it is.
    fn in_named(&mut self, name: &[u8]) {
        let Some((container, pod)) = str::from_utf8(name).ok().and_then(names::container_of_group) else {
            return;
        };
        self.container = Some(container);
        if self.pod.is_none() {
            self.pod = pod;
        }
    }

    /// Below a group at the top that systemd didn't make: a runtime that manages groups by itself.
    fn in_plain_group(&mut self, name: &[u8], inner: &[&[u8]]) {
        let first = text(inner.first());
        let with_id = |runtime, id: Option<&str>| {
            let id = id.filter(|id| names::is_id(id))?;
            Some(Container { runtime, id: Text::from(id), monitor: false })
        };
        let lxc = |name: &[u8]| Container { runtime: Runtime::Lxc, id: Text::new(name), monitor: false };
        match name {
            // BuildKit's steps have a level of their own.
            b"docker" if first == Some("buildkit") => {
                self.container = with_id(Runtime::Docker, text(inner.get(1)));
            }
            b"docker" => self.container = with_id(Runtime::Docker, first),
            // Namespaces of containerd.
            b"default" | b"k8s.io" | b"moby" | b"buildkit" => {
                self.container = with_id(Runtime::Containerd, first);
            }
            b"kubepods" => {
                let class = usize::from(matches!(first, Some("burstable" | "besteffort")));
                self.pod = text(inner.get(class)).and_then(names::pod_of_group);
                if let (Some(_), Some(name)) = (&self.pod, inner.get(class + 1)) {
                    self.in_named(name);
                    if self.container.is_none() {
                        self.container = with_id(Runtime::Kubernetes, text(Some(name)));
                    }
                }
            }
            b"libpod_parent" => {
                self.pod = first.filter(|id| inner.len() > 1 && names::is_hex_id(id)).map(str::to_owned);
                if let Some(name) = inner.get(usize::from(self.pod.is_some())) {
                    self.in_named(name);
                }
            }
            b"lxc" => self.container = inner.first().map(|name| lxc(name)),
            _ => match name.strip_prefix(b"lxc.payload.".as_slice()) {
                Some(id) if !id.is_empty() => self.container = Some(lxc(id)),
                _ => self.in_named(name),
            },
        }
    }
}

fn text<'a>(part: Option<&&'a [u8]>) -> Option<&'a str> {
    str::from_utf8(part?).ok()
}
