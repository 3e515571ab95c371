//! Choices that are written as one word.

use schemars::JsonSchema;
use toml_spanner::Toml;

/// Whether verdicts are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase", inline)]
pub enum Mode {
    /// Verdicts are computed and counted as "would have".
    Observe,
    /// Verdicts are carried out.
    Enforce,
}

impl Mode {
    /// `observe` or `enforce`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// What holds of a rule while the agent is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase", inline)]
pub enum WhenStale {
    /// Its mode.
    #[default]
    Keep,
    /// It observes, whatever its mode.
    Open,
    /// It enforces, whatever its mode.
    Closed,
}

impl WhenStale {
    /// `keep`, `open` or `closed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    /// Whether it is the other one than a rule's mode that holds then.
    pub fn is_other(self, mode: Mode) -> bool {
        matches!((self, mode), (Self::Open, Mode::Enforce) | (Self::Closed, Mode::Observe))
    }

    /// Whether a rule of a mode ever enforces.
    pub fn may_enforce(self, mode: Mode) -> bool {
        mode == Mode::Enforce || self == Self::Closed
    }
}

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reports it.
    Alert,
    /// Refuses it before it happens.
    Deny,
    /// Stops the program before its first instruction. Only in `[[exec]]`.
    Kill,
}

impl Action {
    /// `alert`, `deny` or `kill`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Deny => "deny",
            Self::Kill => "kill",
        }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase", inline)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both. Never among protected ports.
    Any,
}

impl Protocol {
    /// `tcp`, `udp` or `any`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        }
    }

    /// Whether TCP is meant.
    pub fn has_tcp(self) -> bool {
        self != Self::Udp
    }

    /// Whether UDP is meant.
    pub fn has_udp(self) -> bool {
        self != Self::Tcp
    }
}

/// How a finding is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Toml, JsonSchema, clap::ValueEnum)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase", inline)]
pub enum Format {
    /// `Text` on a terminal, else `Json`.
    Auto,
    /// A line for people.
    Text,
    /// An object a line.
    Json,
    /// An object of the Elastic Common Schema a line.
    Ecs,
}

/// A kind of file whose path says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A file that is only in memory (`memfd_create`).
    Memfd,
    /// A file without a name (unlinked, or `O_TMPFILE`).
    Deleted,
    /// A file on a file system that is mounted nowhere in the host's tree: on a private mount, in a container.
    Unplaced,
    /// The dynamic loader, started by hand to run another program.
    Loader,
}

impl Class {
    /// All, in the order in which messages list them.
    pub const ALL: [Self; 4] = [Self::Memfd, Self::Deleted, Self::Unplaced, Self::Loader];

    /// `@memfd`, `@deleted`, `@unplaced` or `@loader`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memfd => "@memfd",
            Self::Deleted => "@deleted",
            Self::Unplaced => "@unplaced",
            Self::Loader => "@loader",
        }
    }
}

/// What a list of files in an exec rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// What is acted upon.
    Deny,
    /// All that may be executed: anything else is acted upon.
    Allow,
}

impl ListKind {
    /// `deny` or `allow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

/// What a rate limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Remote networks.
    Source {
        /// Bits of the prefix of an IPv4 network, from 1 to 32: one address.
        v4: u8,
        /// Bits of the prefix of an IPv6 network, from 1 to 128: one address.
        v6: u8,
    },
    /// Everybody.
    Rule,
}

impl Per {
    /// What counts as one source if nothing else is said: an IPv4 address, and the smallest network that an IPv6 host
    /// is given (RFC 4291, section 2.5.4).
    pub const SOURCE: Self = Self::Source { v4: 32, v6: 64 };
}

/// Where the packet programs attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Toml, JsonSchema)]
#[toml(rename_all = "kebab-case")]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Attach {
    /// To the first of `xdp`, `tcx`, `tc` and `xdp-generic` that works.
    Auto,
    /// In the driver, before anything is allocated.
    Xdp,
    /// In the stack, as an XDP program.
    XdpGeneric,
    /// In the stack, beside other programs (Linux 6.6).
    Tcx,
    /// In the stack, as a filter of `tc`.
    Tc,
}

impl Attach {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
            Self::Tc => "tc",
        }
    }
}

/// What happens where another XDP program holds an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase", inline)]
pub enum IfHeld {
    /// The next way to attach is tried.
    Next,
    /// The interface stays uncovered, and the agent doesn't start.
    Stop,
}

impl IfHeld {
    /// `next` or `stop`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Stop => "stop",
        }
    }
}
