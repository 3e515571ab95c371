//! What the `_info` metrics say: facts that change seldom or never while the agent runs.

/// Facts about this agent on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The agent's build.
    pub build: Build,
    /// What this kernel can do.
    pub capabilities: Vec<Capability>,
    /// How each interface is watched.
    pub attachments: Vec<Attachment>,
    /// The policy in force; `None` while there is none.
    pub policy: Option<Policy>,
}

/// The agent's build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// SHA-256 of the embedded kernel object, in hexadecimal; empty if it was built without.
    pub object_sha256: String,
}

/// One feature of the kernel that a rule or an event may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub feature: &'static str,
    /// A word for whether it can be used (`available`, `missing`, ...).
    pub state: &'static str,
    /// Why not, from a closed set; empty if it can be used.
    pub reason: &'static str,
}

/// How one interface is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Way of attaching (`native`, `generic`, ...).
    pub mode: &'static str,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 of its files, in hexadecimal.
    pub sha256: String,
    /// Its generation.
    pub generation: u64,
    /// The mode of rules that don't name one.
    pub mode: &'static str,
}
