//! What a file says, before anything is checked: every value with its place, nothing rejected for its
//! meaning.
//!
//! The JSON Schema for editors is derived from these same types; their doc comments are what an editor shows.
//! A value that can't be read doesn't hide its neighbours: see [`Field`].

mod packets;
mod policy;
mod sink;
mod value;

use schemars::JsonSchema;
use toml_spanner::Toml;

pub(crate) use packets::{PacketInterface, Packets, Penalty, RateLimit};
pub(crate) use policy::{
    Args, Database, DatabaseAction, Exec, ExecAction, Existing, Listen, Only, RawAction, Workload,
};
pub(crate) use sink::{Sink, SinkKind};
pub(crate) use value::{At, Factor, Field, Id, Interfaces, List, Port, Redact};

use super::model::Mode;

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
    /// Who may ask the running agent.
    #[toml(default)]
    pub control: Field<Control>,
    /// The page for people on the Prometheus endpoint.
    #[toml(default)]
    pub web: Field<Web>,
    /// Where findings go. Without any, findings go to standard output.
    #[toml(default)]
    pub sink: Field<List<Sink>>,
    /// Named sets of processes, which rules refer to.
    #[toml(default)]
    pub workload: Field<List<Workload>>,
    /// Who may talk to which database. Tried in file order; the first rule that speaks of the port or socket
    /// decides.
    #[toml(default)]
    pub database: Field<List<Database>>,
    /// Who may listen at which ports. Tried in file order, after the `servers` of databases; the first rule that speaks of the
    /// port decides.
    #[toml(default)]
    pub listen: Field<List<Listen>>,
    /// What may or must not be executed. Tried in file order; the first rule that matches decides.
    #[toml(default)]
    pub exec: Field<List<Exec>>,
    /// Who may open raw and packet sockets. Absent: nobody watches.
    #[toml(default)]
    pub raw_sockets: Field<Only>,
    /// Who may get at the memory of other processes: trace them, read or write it. Absent: nobody watches.
    #[toml(default)]
    pub process_memory: Field<Only>,
    /// How packets are counted for rate limits: where the programs attach, and how much they remember.
    #[toml(default)]
    pub packets: Field<Packets>,
    /// How much a client may send. Every rule that speaks of a packet counts; one that is over drops it.
    #[toml(default)]
    pub rate_limit: Field<List<RateLimit>>,
}

/// The agent itself.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub(crate) struct Agent {
    /// The network interfaces whose packets are watched: `"auto"` (default: those with a default route), a
    /// list of names and globs (`*`, `?`, `[a-z]`, `{a,b}`), or `[]` for none. It is followed while interfaces come
    /// and go. Without a rate limit no interface is touched.
    #[toml(default)]
    #[schemars(example = &"auto", example = ["eth*", "wg0"])]
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
    /// How long the agent may give no sign of life until rules with `when_stale` hold otherwise: 5 seconds to a day. Default: 1m.
    #[toml(default)]
    #[schemars(example = &"1m")]
    pub stale_after: Field<String>,
    /// Regular expressions for what is secret on command lines, besides what is known to be: passwords, tokens and keys by
    /// the names of options and settings, by known clients and in addresses. The first group of a match, or all of it, is shown
    /// as `[redacted]` in events and findings. `"off"` shows everything.
    #[toml(default)]
    #[schemars(example = ["--pin=([0-9]+)"], example = &"off")]
    pub redact: Field<Redact>,
    /// Memory in which the kernel keeps ordinary events (execs, connects and so on that no rule reports) until the agent takes
    /// them, from `"64KiB"` to `"256MiB"`, rounded up to a power of two. Default: `"8MiB"`. What comes while it is full
    /// is lost, and counted.
    #[toml(default)]
    #[schemars(example = &"16MiB")]
    pub ring: Field<String>,
    /// The same for findings, which never share it with ordinary events: one for execs, one for what processes ask of
    /// sockets, one for packets, each of this size. Default: `"1MiB"`, room for 1,500 to 6,000 findings.
    #[toml(default)]
    #[schemars(example = &"4MiB")]
    pub findings_ring: Field<String>,
    /// How many ordinary events of one control group are told in a second, or another time, and a second's worth at once; the
    /// rest is only counted, so that a group that floods takes no room from others. Never findings. `"off"` tells all. Default:
    /// `"20000/s"`.
    #[toml(default)]
    #[schemars(example = &"5000/s")]
    pub events_per_cgroup: Field<String>,
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
    /// Who may ask, and over what: an absolute path to a file in the format of the `web.config` of Prometheus' exporters
    /// (TLS, client certificates, names and passwords). Default: everybody who reaches `listen`.
    #[toml(default)]
    #[schemars(example = &"/etc/monitor/web.yml")]
    pub web_config: Field<String>,
}

/// Who may ask the running agent over its control socket. Root always may.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub(crate) struct Control {
    /// A group, by name or number, whose members may ask what only looks: `monitor status`, `events`, `top` and `ban
    /// list`. Default: root only. What they see may hold command lines of all users.
    #[toml(default)]
    #[schemars(example = &"monitor")]
    pub group: Field<Id>,
    /// Whether the group may also change what the agent does (bans and whatever else root may). Default: false.
    #[toml(default)]
    #[schemars(example = true)]
    pub changes: Field<bool>,
}

/// The page for people on the Prometheus endpoint.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub(crate) struct Web {
    /// Whether `/` on `[metrics] listen` is a page that shows findings, databases, limits and the agent's state, read-only, to
    /// whoever can reach it. Default: false.
    #[toml(default)]
    #[schemars(example = true)]
    pub enable: Field<bool>,
}
