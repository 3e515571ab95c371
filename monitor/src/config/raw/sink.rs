//! Where findings go, as it is written.

use schemars::JsonSchema;
use toml_spanner::Toml;

use super::Field;
use crate::config::model::Format;

/// Where findings go.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["type"]))]
pub(crate) struct Sink {
    /// `stdout`, `file`, `journald`, `syslog`, `webhook`, `alertmanager` or `otlp`.
    #[toml(default, rename = "type")]
    #[schemars(rename = "type", example = &"stdout")]
    pub kind: Field<SinkKind>,
    /// `text` (a line for people), `json` (an object a line), `ecs` (an object of the Elastic Common Schema), or
    /// `auto` (default): `text` on a terminal, else `json`. Not for `alertmanager` and `otlp`, which have their own.
    #[toml(default)]
    #[schemars(example = &"json")]
    pub format: Field<Format>,
    /// Whether every event is written, not only findings. Default: false.
    #[toml(default)]
    #[schemars(example = true)]
    pub events: Field<bool>,
    /// How long findings that say the same are gathered: the first is told at once, then one summary for each such time.
    /// `"0s"`: never. Default: a minute, or with `events = true` never.
    #[toml(default)]
    #[schemars(example = &"1m")]
    pub fold: Field<String>,
    /// The file that is appended to, or the socket of `journald`: an absolute path.
    #[toml(default)]
    #[schemars(example = &"/var/log/monitor/findings.jsonl")]
    pub path: Field<String>,
    /// Of `file`: the size at which it is renamed to `PATH.1` and begun anew. Default: never.
    #[toml(default)]
    #[schemars(example = &"100MiB")]
    pub max_size: Field<String>,
    /// Of `file` with `max_size`: how many renamed files are kept. Default: 5.
    #[toml(default)]
    #[schemars(example = 5)]
    pub keep: Field<u32>,
    /// Of `syslog`: `unix:///dev/log` (default), or `udp://`, `tcp://` or `tls://` with a host and a port. Of `webhook`,
    /// `alertmanager` and `otlp`: a URL with `http://` or `https://`.
    #[toml(default)]
    #[schemars(example = &"https://collector.example:4318/v1/logs")]
    pub url: Field<String>,
    /// With `tls://` and `https://`: a file of the certificates (PEM) that are trusted. Default: those of the system.
    #[toml(default)]
    #[schemars(example = &"/etc/monitor/ca.pem")]
    pub ca: Field<String>,
    /// With `http://` and `https://`: a file with the token that is sent as `Authorization: Bearer`.
    #[toml(default)]
    #[schemars(example = &"/etc/monitor/webhook.token")]
    pub token_file: Field<String>,
    /// As `token_file`, from an environment variable of this name.
    #[toml(default)]
    #[schemars(example = &"MONITOR_WEBHOOK_TOKEN")]
    pub token_env: Field<String>,
}

/// The kind of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum SinkKind {
    Stdout,
    File,
    Journald,
    Syslog,
    Webhook,
    Alertmanager,
    Otlp,
}

impl SinkKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File => "file",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
            Self::Webhook => "webhook",
            Self::Alertmanager => "alertmanager",
            Self::Otlp => "otlp",
        }
    }
}
