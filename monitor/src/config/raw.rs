//! What a file says, before anything is checked: every value with its place, nothing rejected for its
//! meaning.
//!
//! The JSON Schema for editors is derived from these same types; their doc comments are what an editor shows.
//! A value that can't be read doesn't hide its neighbours: see [`Field`].

mod value;

use schemars::JsonSchema;
use toml_spanner::Toml;

pub(crate) use value::{At, Field, Interfaces, List, Port};

use super::model::{Format, Mode, Protocol};

/// Configuration and policy of the host security agent `monitor`.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(rename = "monitor.toml", deny_unknown_fields, default)]
pub(crate) struct File {
    /// What happens on a verdict, unless a rule says otherwise: `observe` (default) counts and reports what
    /// would have been done and lets it pass, `enforce` does it.
    #[toml(default)]
    #[schemars(example = &"observe")]
    pub mode: Field<Mode>,
    /// The agent itself.
    #[toml(default)]
    pub agent: Field<Agent>,
    /// The Prometheus endpoint.
    #[toml(default)]
    pub metrics: Field<Metrics>,
    /// Where findings go. Without any, findings go to standard output.
    #[toml(default)]
    pub sink: Field<List<Sink>>,
    /// Named sets of processes, which rules refer to.
    #[toml(default)]
    pub workload: Field<List<Workload>>,
    /// Who may connect to which database. Tried in file order; the first rule with the port decides.
    #[toml(default)]
    pub database: Field<List<Database>>,
    /// What must not be executed. Tried in file order; the first rule that matches decides.
    #[toml(default)]
    pub exec: Field<List<Exec>>,
    /// How much a client may send. Every rule with the port and protocol counts; one that is over drops the
    /// packet.
    #[toml(default)]
    pub rate_limit: Field<List<RateLimit>>,
}

/// The agent itself.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub(crate) struct Agent {
    /// The network interfaces whose packets are watched: `"auto"` (default: those with a default route), a
    /// list of names, or `[]` for none. Without a rate limit no interface is touched.
    #[toml(default)]
    #[schemars(example = &"auto", example = ["eth0"])]
    pub interfaces: Field<Interfaces>,
    /// The part of the cgroup v2 tree this policy applies to: a path below its mount point. Default: `/`, all
    /// of it.
    #[toml(default)]
    #[schemars(example = &"/system.slice")]
    pub cgroup: Field<String>,
    /// What is never dropped, whatever a rule says: addresses, prefixes, and local ports as `tcp/22` or
    /// `udp/53`.
    #[toml(default)]
    #[schemars(example = ["10.0.0.0/24", "tcp/22"])]
    pub protect: Field<List<String>>,
}

/// The Prometheus endpoint.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// Address and port to serve `/metrics`, `/healthz` and `/readyz` on. Default: `127.0.0.1:9469`. Port 0
    /// picks a free one.
    #[toml(default)]
    #[schemars(example = &"127.0.0.1:9469")]
    pub listen: Field<String>,
}

/// Where findings go.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["type"]))]
pub(crate) struct Sink {
    /// `stdout`, or `file` with a `path`.
    #[toml(default, rename = "type")]
    #[schemars(rename = "type", example = &"stdout")]
    pub kind: Field<SinkKind>,
    /// `text` (a line for people), `json` (an object a line), or `auto` (default): `text` on a terminal, else
    /// `json`.
    #[toml(default)]
    #[schemars(example = &"json")]
    pub format: Field<Format>,
    /// Whether every event is written, not only findings. Default: false.
    #[toml(default)]
    #[schemars(example = true)]
    pub events: Field<bool>,
    /// The file that is appended to: an absolute path. Only for `type = "file"`.
    #[toml(default)]
    #[schemars(example = &"/var/log/monitor/findings.jsonl")]
    pub path: Field<String>,
}

/// A named set of processes, by what they execute.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name", "exe"]))]
pub(crate) struct Workload {
    /// Unique name, 1 to 64 bytes. It becomes a metric label value.
    #[toml(default)]
    #[schemars(example = &"api", length(min = 1, max = 64))]
    pub name: Field<String>,
    /// The executables: absolute paths, which name a file by its identity, or globs (`*` and `?` within a
    /// component, `[a-z]`, `{a,b}`, `**` for any depth). A directory means everything below it.
    #[toml(default)]
    #[schemars(example = ["/usr/bin/api-server"], length(min = 1))]
    pub exe: Field<List<String>>,
}

/// Which programs of this host may connect to a database, wherever it runs.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name", "ports", "clients"]))]
pub(crate) struct Database {
    /// Unique name, 1 to 64 bytes. It becomes a metric label value.
    #[toml(default)]
    #[schemars(example = &"orders", length(min = 1, max = 64))]
    pub name: Field<String>,
    /// What kind of database it is: a word in lower case, for people.
    #[toml(default)]
    #[schemars(example = &"postgres", regex(pattern = r"^[a-z][a-z0-9_-]{0,31}$"))]
    pub engine: Field<String>,
    /// The ports it listens on: numbers, or ranges such as `"6000-6010"`.
    #[toml(default)]
    #[schemars(example = [5432], length(min = 1))]
    pub ports: Field<List<Port>>,
    /// The workloads that may connect; `[]` lets nobody connect.
    #[toml(default)]
    #[schemars(example = ["api"])]
    pub clients: Field<List<String>>,
    /// What happens to anybody else: `deny` (default) refuses the connection, `alert` only reports it.
    #[toml(default)]
    #[schemars(example = &"deny")]
    pub action: Field<DatabaseAction>,
    /// `observe` or `enforce` for this rule alone.
    #[toml(default)]
    #[schemars(example = &"enforce")]
    pub mode: Field<Mode>,
    /// `observe`: where this kernel can't enforce the rule, observe instead of refusing to start.
    #[toml(default)]
    #[schemars(example = &"observe")]
    pub degrade: Field<Degrade>,
}

/// Programs that must not be executed.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name", "deny"]))]
pub(crate) struct Exec {
    /// Unique name, 1 to 64 bytes. It becomes a metric label value.
    #[toml(default)]
    #[schemars(example = &"no shells from the api", length(min = 1, max = 64))]
    pub name: Field<String>,
    /// The workloads that execute. Absent: anybody.
    #[toml(default)]
    #[schemars(example = ["api"], length(min = 1))]
    pub by: Field<List<String>>,
    /// What they must not execute: absolute paths, globs, `@memfd` (a file that is only in memory),
    /// `@deleted` (a file without a name) and `@unplaced` (a file on a mount that the host's tree doesn't have).
    #[toml(default)]
    #[schemars(example = ["/bin/*sh", "/tmp/**", "@memfd", "@deleted"], length(min = 1))]
    pub deny: Field<List<String>>,
    /// `deny` (default) refuses the execution before it happens and needs BPF LSM, `kill` stops the program
    /// before its first instruction, `alert` only reports it.
    #[toml(default)]
    #[schemars(example = &"deny")]
    pub action: Field<ExecAction>,
    /// `observe` or `enforce` for this rule alone.
    #[toml(default)]
    #[schemars(example = &"enforce")]
    pub mode: Field<Mode>,
    /// `observe`: where this kernel can't enforce the rule, observe instead of refusing to start.
    #[toml(default)]
    #[schemars(example = &"observe")]
    pub degrade: Field<Degrade>,
}

/// How much a client may send to local ports before its packets are dropped.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name", "ports"], "anyOf" = [
    {"required": ["packets"]}, {"required": ["connections"]}, {"required": ["bytes"]}
]))]
pub(crate) struct RateLimit {
    /// Unique name, 1 to 64 bytes. It becomes a metric label value.
    #[toml(default)]
    #[schemars(example = &"https per client", length(min = 1, max = 64))]
    pub name: Field<String>,
    /// The local ports: numbers, or ranges such as `"6000-6010"`.
    #[toml(default)]
    #[schemars(example = [443], length(min = 1))]
    pub ports: Field<List<Port>>,
    /// `tcp`, `udp` or `any` (default).
    #[toml(default)]
    #[schemars(example = &"tcp")]
    pub protocol: Field<Protocol>,
    /// What is counted together: `source` (default) is one remote IPv4 address or IPv6 /64 network.
    #[toml(default)]
    #[schemars(example = &"source")]
    pub per: Field<String>,
    /// Packets in a time, such as `"2000/s"`; units `s`, `min` (or `m`), `h`.
    #[toml(default)]
    #[schemars(example = &"2000/s")]
    pub packets: Field<String>,
    /// New TCP connections in a time, such as `"50/s"`.
    #[toml(default)]
    #[schemars(example = &"50/s")]
    pub connections: Field<String>,
    /// Bytes in a time, such as `"10MB/s"`; units `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`.
    #[toml(default)]
    #[schemars(example = &"10MB/s")]
    pub bytes: Field<String>,
    /// How many packets or connections may come at once. Default: one second's worth, at least 1.
    #[toml(default)]
    #[schemars(example = 100, range(min = 1))]
    pub burst: Field<i64>,
    /// How many bytes may come at once, such as `"1MB"`. Default: one second's worth, at least 64 KiB.
    #[toml(default)]
    #[schemars(example = &"1MB")]
    pub burst_bytes: Field<String>,
    /// `observe` or `enforce` for this rule alone.
    #[toml(default)]
    #[schemars(example = &"enforce")]
    pub mode: Field<Mode>,
}

/// The kind of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum SinkKind {
    Stdout,
    File,
}

/// What a database rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum DatabaseAction {
    Deny,
    Alert,
}

/// What an exec rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum ExecAction {
    Alert,
    Deny,
    Kill,
}

/// What to do instead of enforcing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Degrade {
    Observe,
}
