//! What a rule is about, for people and for alerts. Nothing is decided by it.

use schemars::JsonSchema;
use toml_spanner::Toml;

/// What a rule says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// How bad what it reports is.
    pub severity: Level,
    /// The chapter of good practice that it belongs to: a word in lower case.
    pub practice: Option<String>,
    /// Techniques of MITRE ATT&CK by their ids, such as `T1059.004`; each once, at most
    /// [`MAX_ATTACK`](crate::config::limits::MAX_ATTACK).
    pub attack: Vec<String>,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase", inline)]
pub enum Level {
    /// Worth knowing.
    Info,
    /// To be looked at when there is time.
    Low,
    /// To be looked at within days.
    #[default]
    Medium,
    /// To be looked at today.
    High,
    /// Somebody has to be woken.
    Critical,
}

impl Level {
    /// All, from the least to the worst.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// `info`, `low`, `medium`, `high` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}
