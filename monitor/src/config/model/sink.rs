//! Where findings go.

use std::path::PathBuf;
use std::time::Duration;

use super::Format;
use crate::config::source::Place;

/// Where findings go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// What is written to.
    pub target: Target,
    /// How a finding is written.
    pub format: Format,
    /// Whether every event is written, not only findings.
    pub events: bool,
    /// How long findings that say the same are gathered; zero: never.
    pub fold: Duration,
    /// Where the sink was defined.
    pub place: Place,
}

/// What a sink writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(FileSink),
    /// The journal, at the socket with this path.
    Journald(PathBuf),
    /// A syslog server (RFC 5424).
    Syslog(Syslog),
    /// A service that is posted to.
    Http {
        /// What it understands.
        kind: HttpKind,
        /// Where it is.
        url: Url,
        /// What shows that the agent may.
        token: Option<Secret>,
    },
}

/// A file that is appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// Its absolute path.
    pub path: PathBuf,
    /// The size in bytes at which it is begun anew.
    pub max_size: Option<u64>,
    /// How many old ones are kept.
    pub keep: u32,
}

/// Where syslog messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syslog {
    /// A datagram socket on this host.
    Unix(PathBuf),
    /// A datagram each.
    Udp(Endpoint),
    /// A stream, framed by RFC 6587 (octet counting).
    Tcp(Endpoint),
    /// A stream, encrypted, framed by RFC 5425.
    Tls(Endpoint, Option<PathBuf>),
}

/// What a service that is posted to understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpKind {
    /// A JSON array of what a file gets.
    Webhook,
    /// Alertmanager's API, version 2.
    Alertmanager,
    /// OTLP logs, protobuf.
    Otlp,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`, and if so with which file of trusted certificates; `None` for those of the system.
    pub tls: Option<Option<PathBuf>>,
    /// Host and port.
    pub endpoint: Endpoint,
    /// Path and query.
    pub path: String,
}

/// Where a secret is read; it is never a part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file with this absolute path.
    File(PathBuf),
    /// An environment variable of this name.
    Env(String),
}
