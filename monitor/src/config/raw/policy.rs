//! Workloads, and the rules about programs, databases and raw sockets, as written.

use schemars::JsonSchema;
use toml_spanner::Toml;

use super::value::{Field, Id, List, Port};
use crate::config::model::{Level, Mode, WhenStale};

/// A named set of processes. At least one of `exe`, `user`, `group`, `unit`, `cgroup`, `parent` and `ancestor` is
/// given; a process belongs if each that is given matches, and that is so if one of its values does.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name"], "anyOf" = [
    {"required": ["exe"]}, {"required": ["user"]}, {"required": ["group"]}, {"required": ["unit"]},
    {"required": ["cgroup"]}, {"required": ["parent"]}, {"required": ["ancestor"]}
]))]
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
    /// SHA-256 of what the executables may contain, as 64 hexadecimal digits. Needs `exe` with plain paths only.
    #[toml(default)]
    #[schemars(example = ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"], length(min = 1))]
    pub sha256: Field<List<String>>,
    /// Real users, by name or number.
    #[toml(default)]
    #[schemars(example = ["app"], length(min = 1))]
    pub user: Field<List<Id>>,
    /// Real groups, by name or number.
    #[toml(default)]
    #[schemars(example = ["app"], length(min = 1))]
    pub group: Field<List<Id>>,
    /// systemd system units: names, or globs with `*`, `?`, `[a-z]` and `{a,b}`.
    #[toml(default)]
    #[schemars(example = ["api.service"], length(min = 1))]
    pub unit: Field<List<String>>,
    /// Cgroups, as paths below the cgroup v2 mount: the group and everything below it. Or globs.
    #[toml(default)]
    #[schemars(example = ["/system.slice/api.service"], length(min = 1))]
    pub cgroup: Field<List<String>>,
    /// Workloads: the process that made it was a member when it did.
    #[toml(default)]
    #[schemars(example = ["nginx"], length(min = 1))]
    pub parent: Field<List<String>>,
    /// Workloads: any process up the chain was a member, or the process itself before an exec.
    #[toml(default)]
    #[schemars(example = ["sshd"], length(min = 1))]
    pub ancestor: Field<List<String>>,
    /// Whether what members start, and what they turn into by exec, stays a member for good. Default: false.
    #[toml(default)]
    #[schemars(example = true)]
    pub descendants: Field<bool>,
}

/// Who may talk to a database: `clients` to one that runs anywhere, `servers` and `sources` to one on this host.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name"], "allOf" = [
    {"anyOf": [{"required": ["ports"]}, {"required": ["sockets"]}]},
    {"anyOf": [{"required": ["clients"]}, {"required": ["servers"]}, {"required": ["sources"]}]}
]))]
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
    /// The addresses at which the ports are meant: addresses and prefixes; remote ones for `clients`, local ones for
    /// `servers` and `sources`. Absent: any.
    #[toml(default)]
    #[schemars(example = ["10.0.0.5", "10.1.0.0/16", "fd00::/8"], length(min = 1))]
    pub addresses: Field<List<String>>,
    /// The unix sockets it listens on: absolute paths or globs.
    #[toml(default)]
    #[schemars(example = ["/run/postgresql/.s.PGSQL.5432"], length(min = 1))]
    pub sockets: Field<List<String>>,
    /// The workloads that may connect; `[]` lets nobody connect. Absent: anybody may.
    #[toml(default)]
    #[schemars(example = ["api"])]
    pub clients: Field<List<String>>,
    /// The workloads that may bind and listen on the ports and sockets; `[]` is nobody. Absent: anybody may.
    #[toml(default)]
    #[schemars(example = ["postgres"])]
    pub servers: Field<List<String>>,
    /// The remote addresses and prefixes from which packets may reach the local ports; loopback always may.
    /// Absent: any.
    #[toml(default)]
    #[schemars(example = ["10.0.2.0/24"])]
    pub sources: Field<List<String>>,
    /// What happens to connections of others than `clients` that are older than the policy: `list` (default) lists
    /// and counts them, `close` closes them, too.
    #[toml(default)]
    #[schemars(example = &"close")]
    pub existing: Field<Existing>,
    /// What happens to anybody else: `deny` (default) refuses it, `alert` only reports it.
    #[toml(default)]
    #[schemars(example = &"deny")]
    pub action: Field<DatabaseAction>,
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
    /// `observe`: where this kernel can't enforce the rule, observe instead of refusing to start.
    #[toml(default)]
    #[schemars(example = &"observe")]
    pub degrade: Field<Degrade>,
    /// Whether to load the rule although it would drop the packets of a current SSH session, or of who reads the metrics.
    #[toml(default)]
    #[schemars(example = true)]
    pub force: Field<bool>,
}

/// Who may listen at ports of this host: for what no database is, or for all of them.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name", "allow"]))]
pub(crate) struct Listen {
    /// Unique name, 1 to 64 bytes. It becomes a metric label value.
    #[toml(default)]
    #[schemars(example = &"services", length(min = 1, max = 64))]
    pub name: Field<String>,
    /// Local ports, TCP and UDP: numbers, or ranges such as `"1-32767"`. Absent: all.
    #[toml(default)]
    #[schemars(example = [443, 8080], length(min = 1))]
    pub ports: Field<List<Port>>,
    /// Local addresses and prefixes at which the ports are meant. Who listens at every address listens at these. Absent: any.
    #[toml(default)]
    #[schemars(example = ["10.0.0.0/8"], length(min = 1))]
    pub addresses: Field<List<String>>,
    /// The workloads that may bind and listen; `[]` is nobody.
    #[toml(default)]
    #[schemars(example = ["web"])]
    pub allow: Field<List<String>>,
    /// What happens to anybody else: `alert` (default) reports it, `deny` refuses the bind.
    #[toml(default)]
    #[schemars(example = &"alert")]
    pub action: Field<RawAction>,
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
    #[schemars(example = &"attack-surface", regex(pattern = r"^[a-z][a-z0-9_-]{0,31}$"))]
    pub practice: Field<String>,
    /// Techniques of MITRE ATT&CK that it is about, by their ids.
    #[toml(default)]
    #[schemars(example = ["T1571"], length(min = 1, max = 8), inner(regex(pattern = r"^T[0-9]{4}(\.[0-9]{3})?$")))]
    pub attack: Field<List<String>>,
}

/// Programs that must not be executed (`deny`), or all that may be (`allow`).
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["name"], "oneOf" = [
    {"required": ["deny"]}, {"required": ["allow"]}
]))]
pub(crate) struct Exec {
    /// Unique name, 1 to 64 bytes. It becomes a metric label value.
    #[toml(default)]
    #[schemars(example = &"no shells from the api", length(min = 1, max = 64))]
    pub name: Field<String>,
    /// The workloads that execute. Absent: anybody.
    #[toml(default)]
    #[schemars(example = ["api"], length(min = 1))]
    pub by: Field<List<String>>,
    /// The real users who execute, by name or number. Absent: anybody.
    #[toml(default)]
    #[schemars(example = ["www-data"], length(min = 1))]
    pub user: Field<List<Id>>,
    /// Workloads that the rule is not for. Not with both `by` and `user`.
    #[toml(default)]
    #[schemars(example = ["backup"], length(min = 1))]
    pub except: Field<List<String>>,
    /// What they must not execute: absolute paths, globs, `@memfd` (a file that is only in memory),
    /// `@deleted` (a file without a name), `@unplaced` (a file on a mount that the host's tree doesn't have) and
    /// `@loader` (the dynamic loader, started by hand).
    #[toml(default)]
    #[schemars(example = ["/bin/*sh", "/tmp/**", "@memfd", "@deleted"], length(min = 1))]
    pub deny: Field<List<String>>,
    /// All that they may execute, written as in `deny`; `[]` is nothing. Needs `by` or `user`.
    #[toml(default)]
    #[schemars(example = ["/usr/bin/pg_dump"])]
    pub allow: Field<List<String>>,
    /// Conditions about the arguments: at least one of them must be like one of these. Only with `deny`.
    #[toml(default)]
    #[schemars(example = Args::example())]
    pub args: Field<Args>,
    /// `deny` (default) refuses the execution before it happens and needs BPF LSM, `kill` stops the program
    /// before its first instruction, `alert` only reports it.
    #[toml(default)]
    #[schemars(example = &"deny")]
    pub action: Field<ExecAction>,
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
    /// `observe`: where this kernel can't enforce the rule, observe instead of refusing to start.
    #[toml(default)]
    #[schemars(example = &"observe")]
    pub degrade: Field<Degrade>,
    /// Whether to load the rule although it would stop the agent's own program, that of process 1, or the login shell of an
    /// administrator.
    #[toml(default)]
    #[schemars(example = true)]
    pub force: Field<bool>,
}

/// Conditions about arguments: one of them, not the program's own name, does one of these.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("anyOf" = [{"required": ["contains"]}, {"required": ["glob"]}]))]
pub(crate) struct Args {
    /// It contains one of these texts.
    #[toml(default)]
    #[schemars(example = ["--dump"], length(min = 1))]
    pub contains: Field<List<String>>,
    /// As a whole it matches one of these globs; `*` stands for any text, also with `/`.
    #[toml(default)]
    #[schemars(example = ["--file=*"], length(min = 1))]
    pub glob: Field<List<String>>,
}

impl Args {
    /// For the schema.
    fn example() -> serde_json::Value {
        serde_json::json!({"contains": ["--dump"], "glob": ["--file=*"]})
    }
}

/// Who alone may do something.
#[derive(Debug, Default, Toml, JsonSchema)]
#[schemars(deny_unknown_fields, default, extend("required" = ["allow"]))]
pub(crate) struct Only {
    /// The workloads that may; `[]` is nobody.
    #[toml(default)]
    #[schemars(example = ["ping"])]
    pub allow: Field<List<String>>,
    /// What happens to anybody else: `alert` (default) reports it, `deny` refuses it.
    #[toml(default)]
    #[schemars(example = &"alert")]
    pub action: Field<RawAction>,
    /// `observe` or `enforce` for this alone.
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
    /// `observe`: where this kernel can't refuse it, or doesn't see all of it, make do with what it can instead of refusing to
    /// start.
    #[toml(default)]
    #[schemars(example = &"observe")]
    pub degrade: Field<Degrade>,
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

/// What is done about raw sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum RawAction {
    Alert,
    Deny,
}

/// What happens to connections that are older than the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Existing {
    List,
    Close,
}

/// What to do instead of enforcing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Toml, JsonSchema)]
#[toml(rename_all = "lowercase")]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Degrade {
    Observe,
}
