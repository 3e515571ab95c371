//! The fields of a process: who it is, where it belongs, what it runs.

use std::borrow::Cow;

use jiff::Timestamp;
use monitor_common::identity::{ExeId, dev_parts};
use schemars::JsonSchema;
use serde::Serialize;

use super::{super::sentence, optional_timestamp};
use crate::{
    event::{Place, Program, Text, Who},
    host::placement::Container,
};

/// Who did it. The kinds `limit` and `source` are about packets and have none of these.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProcessPart<'a> {
    /// The process.
    pid: u32,
    /// Its parent.
    ppid: u32,
    /// Its start time, nanoseconds since boot: with `pid`, it names a process for good.
    start_ns: u64,
    /// Real user, as a number of the host.
    uid: u32,
    /// Real group, as a number of the host.
    gid: u32,
    /// Id of its control group.
    cgroup: u64,
    #[serde(flatten)]
    place: Option<PlacePart<'a>>,
    /// Name of the thread: whatever it likes to be called.
    #[schemars(with = "String")]
    comm: Text,
    /// The workloads of the policy that it belonged to when it was judged; of an exec, those of who executed.
    workloads: Vec<Cow<'a, str>>,
}

/// Where it belongs, as the path of its control group says; left out where that says nothing, or the group was gone before the
/// agent first saw an event from it.
#[derive(Serialize, JsonSchema)]
pub(super) struct PlacePart<'a> {
    /// Path of the control group below the mount of the cgroup v2 tree.
    #[schemars(with = "String")]
    cgroup_path: &'a Text,
    /// The system unit. Only root can put a process there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    unit: Option<Text>,
    /// The container. Below `user@UID.service` this is the word of that user.
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerPart<'a>>,
    /// The pod of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pod: Option<Text>,
    /// The user whose session or service manager it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_uid: Option<u32>,
    /// The unit of that user's service manager, a name that the user chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    user_unit: Option<Text>,
}

/// A container.
#[derive(Serialize, JsonSchema)]
pub(super) struct ContainerPart<'a> {
    /// `docker`, `containerd`, `cri-o`, `podman`, `kubernetes`, `machine` or `lxc`.
    runtime: &'static str,
    /// Its id or name.
    #[schemars(with = "String")]
    id: &'a Text,
    /// Whether it is the runtime's process that watches over the container from outside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(with = "Option<bool>")]
    monitor: bool,
}

/// What it runs; of an `exec`, what was started.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProgramPart<'a> {
    /// The executable.
    exe: Exe<'a>,
    /// The name that a script was started by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    script: Option<&'a Text>,
    /// Arguments, the first being the program's own name.
    #[schemars(with = "Vec<String>")]
    args: &'a [Text],
    /// Whether there were more arguments, or longer ones, than are kept.
    args_truncated: bool,
}

/// An executable: device, inode, change time and size tell this file from any other.
#[derive(Serialize, JsonSchema)]
pub(super) struct Exe<'a> {
    /// Path in the host's tree.
    #[schemars(with = "Option<String>")]
    path: Option<&'a Text>,
    /// Device of its file system, `MAJOR:MINOR`.
    dev: Option<String>,
    /// Inode.
    ino: Option<u64>,
    /// When the inode last changed.
    #[serde(serialize_with = "optional_timestamp")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    ctime: Option<Timestamp>,
    /// Bytes.
    size: Option<u64>,
    /// What is special about it: `memfd`, `deleted`, `unplaced`, `loader`, `unverified` and others.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    notes: &'a [&'static str],
}

/// A file by its number.
#[derive(Serialize, JsonSchema)]
pub(super) struct File {
    /// Device of its file system, `MAJOR:MINOR`.
    dev: String,
    /// Inode.
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
