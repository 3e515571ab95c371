//! The fields of a process: who it is, where it belongs, what it runs.

use std::borrow::Cow;

use jiff::Timestamp;
use monitor_common::identity::{ExeId, dev_parts};
use serde::Serialize;

use super::{super::sentence, optional_timestamp};
use crate::{
    event::{Place, Program, Text, Who},
    host::placement::Container,
};

/// Who did it.
#[derive(Serialize)]
pub(super) struct ProcessPart<'a> {
    pid: u32,
    ppid: u32,
    start_ns: u64,
    uid: u32,
    gid: u32,
    cgroup: u64,
    #[serde(flatten)]
    place: Option<PlacePart<'a>>,
    comm: Text,
    /// Names from the policy; of an exec, those of who executed.
    workloads: Vec<Cow<'a, str>>,
}

/// Where it belongs; what its group's path doesn't tell is left out.
#[derive(Serialize)]
struct PlacePart<'a> {
    cgroup_path: &'a Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_unit: Option<Text>,
}

#[derive(Serialize)]
struct ContainerPart<'a> {
    runtime: &'static str,
    id: &'a Text,
    /// It watches over the container from outside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    monitor: bool,
}

/// What it runs; of an exec, what was started.
#[derive(Serialize)]
pub(super) struct ProgramPart<'a> {
    exe: Exe<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<&'a Text>,
    args: &'a [Text],
    args_truncated: bool,
}

/// An executable; a value that isn't known is `null`.
#[derive(Serialize)]
pub(super) struct Exe<'a> {
    path: Option<&'a Text>,
    dev: Option<String>,
    ino: Option<u64>,
    #[serde(serialize_with = "optional_timestamp")]
    ctime: Option<Timestamp>,
    size: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [&'static str],
}

/// A file by its number.
#[derive(Serialize)]
pub(super) struct File {
    dev: String,
    ino: u64,
}

impl File {
    pub fn new(id: &ExeId) -> Self {
        let (major, minor) = dev_parts(id.dev);
        Self { dev: format!("{major}:{minor}"), ino: id.ino }
    }
}

impl<'a> ProcessPart<'a> {
    pub fn new(who: &'a Who) -> Self {
        let process = &who.process;
        Self {
            pid: process.pid,
            ppid: process.ppid,
            start_ns: process.start_ns,
            uid: process.uid,
            gid: process.gid,
            cgroup: process.cgroup,
            place: who.place.as_deref().map(PlacePart::new),
            comm: Text::from_padded(&process.comm),
            workloads: who.workloads.iter().map(|name| sentence(name)).collect(),
        }
    }
}

impl<'a> PlacePart<'a> {
    fn new(place: &'a Place) -> Self {
        let found = &place.placement;
        let text = |name: &Option<String>| name.as_deref().map(Text::from);
        Self {
            cgroup_path: &place.path,
            unit: text(&found.unit),
            container: found.container.as_ref().map(ContainerPart::new),
            pod: text(&found.pod),
            owner_uid: found.user,
            user_unit: text(&found.user_unit),
        }
    }
}

impl<'a> ContainerPart<'a> {
    fn new(container: &'a Container) -> Self {
        Self { runtime: container.runtime.name(), id: &container.id, monitor: container.monitor }
    }
}

impl<'a> ProgramPart<'a> {
    pub fn new(id: &ExeId, program: &'a Program) -> Self {
        Self {
            exe: Exe::new(id, program),
            script: program.script.as_ref(),
            args: &program.args,
            args_truncated: program.args_truncated,
        }
    }
}

impl<'a> Exe<'a> {
    pub fn new(id: &ExeId, program: &'a Program) -> Self {
        let known = !id.same(&ExeId::NONE);
        let (major, minor) = dev_parts(id.dev);
        Self {
            path: Some(&program.path).filter(|path| !path.is_empty()),
            dev: known.then(|| format!("{major}:{minor}")),
            ino: known.then_some(id.ino),
            // Out of range (beyond the year 9999, or a broken file system): not known.
            ctime: i32::try_from(id.ctime_ns)
                .ok()
                .and_then(|ns| Timestamp::new(id.ctime_s, ns).ok())
                .filter(|_| known),
            size: known.then_some(id.size),
            notes: &program.notes,
        }
    }
}
