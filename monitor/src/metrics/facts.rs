//! What the `_info` metrics say: facts that change seldom or never while the agent runs.

use std::sync::Arc;

use monitor_common::policy::RuleKind;

use crate::config::{About, Config, WhenStale};

/// Facts about this agent on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The agent's build.
    pub build: Build,
    /// What this kernel can do.
    pub capabilities: Vec<Capability>,
    /// Which interfaces are watched.
    pub interfaces: Interfaces,
    /// How many are never dropped although the policy doesn't name them, by [`Lifeline`].
    pub lifelines: [u64; Lifeline::ALL.len()],
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
    /// Release of the running kernel.
    pub kernel: String,
}

impl Build {
    /// Of this program, on this kernel.
    #[must_use]
    pub fn of_this_agent(object_sha256: String) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), object_sha256, kernel }
    }
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

/// Why an address is never dropped although the policy doesn't name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifeline {
    /// The other end of an SSH session.
    Ssh,
    /// Where a default route leads.
    Gateway,
    /// It has read the metrics lately.
    Reader,
    /// It is one of these, and there was no room for it: it may be dropped.
    LeftOut,
}

impl Lifeline {
    /// All.
    pub const ALL: [Self; 4] = [Self::Ssh, Self::Gateway, Self::Reader, Self::LeftOut];

    /// The `reason` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Gateway => "gateway",
            Self::Reader => "metrics",
            Self::LeftOut => "left_out",
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
    /// Its rules.
    pub rules: Arc<[Rule]>,
}

/// What a rule says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// How bad what it reports is.
    pub severity: &'static str,
    /// The chapter of good practice that it belongs to; may be empty.
    pub practice: String,
    /// Techniques of ATT&CK, sorted and separated by commas: one series a rule, or there would be nothing to join with.
    pub attack: String,
    /// What holds while the agent is gone.
    pub when_stale: &'static str,
}

impl Policy {
    /// That of a configuration in force.
    #[must_use]
    pub fn new(config: &Config, generation: u64) -> Self {
        let rule = |kind: RuleKind, name: &str, about: &About, when_stale: WhenStale| {
            let mut attack = about.attack.clone();
            attack.sort();
            Rule {
                name: name.to_owned(),
                kind: kind.name(),
                severity: about.severity.name(),
                practice: about.practice.clone().unwrap_or_default(),
                attack: attack.join(","),
                when_stale: when_stale.name(),
            }
        };
        let execs = config.execs.iter().map(|it| rule(RuleKind::Exec, &it.name, &it.about, it.when_stale));
        let databases =
            config.databases.iter().map(|it| rule(RuleKind::Database, &it.name, &it.about, it.when_stale));
        let listens =
            config.listens.iter().map(|it| rule(RuleKind::Listen, &it.name, &it.about, it.when_stale));
        let limits =
            config.rate_limits.iter().map(|it| rule(RuleKind::RateLimit, &it.name, &it.about, it.when_stale));
        let alone = config.alone().map(|(kind, it)| rule(kind, kind.name(), &it.about, it.when_stale));
        Self {
            sha256: config.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            generation,
            mode: config.mode.name(),
            rules: execs.chain(databases).chain(listens).chain(limits).chain(alone).collect(),
        }
    }
}
