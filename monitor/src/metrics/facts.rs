//! What the `_info` metrics say: facts that change seldom or never while the agent runs.

/// Facts about this agent on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The agent's build.
    pub build: Build,
    /// What this kernel can do.
    pub capabilities: Vec<Capability>,
    /// Which interfaces are watched.
    pub interfaces: Interfaces,
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

/// Which interfaces are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// How: at most [`Interfaces::SHOWN`].
    pub attachments: Vec<Attachment>,
    /// How many there are, those that are not shown included.
    pub covered: u64,
    /// How many should be and aren't, by [`Uncovered`].
    pub uncovered: [u64; Uncovered::ALL.len()],
}

impl Interfaces {
    /// Most interfaces that bear a label: on a host with containers there may be thousands, and each new one has a new name.
    pub const SHOWN: usize = 64;
}

/// Why the packets of an interface aren't watched although they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncovered {
    /// Another program holds it.
    Held,
    /// It takes no program.
    Refused,
    /// There is no interface of the name that the configuration gives.
    Missing,
    /// The table of interfaces has no place for it.
    NoRoom,
}

impl Uncovered {
    /// All.
    pub const ALL: [Self; 4] = [Self::Held, Self::Refused, Self::Missing, Self::NoRoom];

    /// The `reason` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::NoRoom => "no_room",
        }
    }
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
