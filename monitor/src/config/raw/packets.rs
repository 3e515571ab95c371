//! Rate limits and how packets are counted, as written.

use schemars::JsonSchema;
use toml_spanner::Toml;

use super::value::{Factor, Field, List, Port};
use crate::config::model::{Attach, IfHeld, Level, Mode, Protocol, WhenStale};

/// How packets are counted for rate limits.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub(crate) struct Packets {
    /// How much memory the table of sources takes; rounded down to what fits a power of two. Default: 11.5 MB, which
    /// is room for 131,072 sources.
    #[toml(default)]
    #[schemars(example = &"16MiB")]
    pub memory: Field<String>,
    /// Where the programs attach: `auto` (default) tries `xdp`, `tcx`, `tc` and `xdp-generic` in this order.
    #[toml(default)]
    #[schemars(example = &"tcx")]
    pub attach: Field<Attach>,
    /// What happens where another XDP program holds an interface: `next` (default) goes to the next way to attach,
    /// `stop` leaves the interface uncovered, and refuses to start. It is never replaced.
    #[toml(default)]
    #[schemars(example = &"stop")]
    pub if_held: Field<IfHeld>,
    /// How many packets whose ports can't be read a source may send: later fragments, too many headers. `"off"` for
    /// no limit. Default: `"10000/s"`.
    #[toml(default)]
    #[schemars(example = &"10000/s")]
    pub unparsed: Field<String>,
    /// What is different on some interfaces. The first entry whose name is that of the interface decides.
    #[toml(default)]
    #[schemars(example = PacketInterface::example())]
    pub interface: Field<List<PacketInterface>>,
}

/// What is different on an interface.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name"], "anyOf" = [
    {"required": ["attach"]}, {"required": ["if_held"]}
]))]
pub(crate) struct PacketInterface {
    /// Its name, or a glob with `*`, `?`, `[a-z]` and `{a,b}`.
    #[toml(default)]
    #[schemars(example = &"eth1", length(min = 1, max = 128))]
    pub name: Field<String>,
    /// Where the programs attach.
    #[toml(default)]
    #[schemars(example = &"tcx")]
    pub attach: Field<Attach>,
    /// What happens where another XDP program holds it.
    #[toml(default)]
    #[schemars(example = &"stop")]
    pub if_held: Field<IfHeld>,
}

impl PacketInterface {
    /// For the schema.
    fn example() -> serde_json::Value {
        serde_json::json!([{"name": "eth1", "attach": "tcx"}])
    }
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
    /// What is counted together. `source` (default): one remote IPv4 address, or IPv6 /64 network. `source/24`: an
    /// IPv4 /24, or IPv6 /64; `source/48`: an IPv6 /48, or one IPv4 address; `source/24/48` says both. `rule`:
    /// everybody.
    #[toml(default)]
    #[schemars(example = &"source/24", regex(pattern = r"^(source(/[0-9]{1,3}){0,2}|rule)$"))]
    pub per: Field<String>,
    /// Only these remote addresses and prefixes. Absent: any.
    #[toml(default)]
    #[schemars(example = ["10.0.0.0/8", "2001:db8::/32"], length(min = 1))]
    pub sources: Field<List<String>>,
    /// Never these remote addresses and prefixes.
    #[toml(default)]
    #[schemars(example = ["10.0.0.7"])]
    pub except: Field<List<String>>,
    /// Only what comes in on these interfaces: names, or globs with `*`, `?`, `[a-z]` and `{a,b}`. Absent: any.
    #[toml(default)]
    #[schemars(example = ["eth0", "wg*"], length(min = 1))]
    pub interfaces: Field<List<String>>,
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
    /// How many packets may come from all sources together that have no place in the table yet. Default: an eighth of
    /// the table's places a second. Not with `per = "rule"`.
    #[toml(default)]
    #[schemars(example = &"10000/s")]
    pub newcomers: Field<String>,
    /// For how long a source is dropped that was over the limit again and again. Absent: only what is over the limit
    /// is. Not with `per = "rule"`.
    #[toml(default)]
    #[schemars(example = Penalty::example())]
    pub penalty: Field<Penalty>,
    /// `observe` or `enforce` for this rule alone.
    #[toml(default)]
    #[schemars(example = &"enforce")]
    pub mode: Field<Mode>,
    /// What holds while the agent has been gone for longer than `[agent] stale_after`: `keep` (default), what the mode says;
    /// `open`, a rule that enforces only observes; `closed`, a rule that observes enforces.
    #[toml(default)]
    #[schemars(example = &"open")]
    pub when_stale: Field<WhenStale>,
    /// How bad it is: `info`, `low`, `medium` (default), `high` or `critical`. Findings and `monitor_rule_info` say it.
    #[toml(default)]
    #[schemars(example = &"high")]
    pub severity: Field<Level>,
    /// The chapter of good practice that the rule belongs to: a word in lower case.
    #[toml(default)]
    #[schemars(example = &"least-privilege", regex(pattern = r"^[a-z][a-z0-9_-]{0,31}$"))]
    pub practice: Field<String>,
    /// Techniques of MITRE ATT&CK that it is about, by their ids.
    #[toml(default)]
    #[schemars(example = ["T1059.004"], length(min = 1, max = 8), inner(regex(pattern = r"^T[0-9]{4}(\.[0-9]{3})?$")))]
    pub attack: Field<List<String>>,
}

/// For how long a source is dropped.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["for"]))]
pub(crate) struct Penalty {
    /// How long the first time, such as `"90s"`, `"1m"` or `"1h 30m"`.
    #[toml(default, rename = "for")]
    #[schemars(rename = "for", example = &"1m")]
    pub length: Field<String>,
    /// How many times longer each further penalty is: 1.0 (default) to 10.0.
    #[toml(default)]
    #[schemars(example = 2)]
    pub factor: Field<Factor>,
    /// The longest it gets. Default: `"24h"`, or `for` if that is longer.
    #[toml(default)]
    #[schemars(example = &"24h")]
    pub max: Field<String>,
    /// How many packets over the limit bring it about, counted since the source last had its whole burst. Default: 100.
    #[toml(default)]
    #[schemars(example = 100, range(min = 1, max = 1_000_000))]
    pub after: Field<i64>,
}

impl Penalty {
    /// For the schema.
    fn example() -> serde_json::Value {
        serde_json::json!({"for": "1m", "factor": 2, "max": "24h"})
    }
}
