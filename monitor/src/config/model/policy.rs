//! Workloads, and the rules about programs, databases and raw sockets.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::about::About;
use super::words::{Action, Class, ListKind, Mode, WhenStale};
use crate::config::source::{Place, Spanned};

/// A named set of processes. At least one dimension is given (not empty); a process belongs if every given one
/// matches, and a dimension matches if one of its values does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Unique among the workloads.
    pub name: String,
    /// What they execute; never a [`Pattern::Class`]. Empty: not given.
    pub exe: Vec<Spanned<Pattern>>,
    /// SHA-256 of the contents that `exe` may have. If any is given, `exe` is not empty and all of it plain paths.
    pub sha256: Vec<[u8; 32]>,
    /// Real users.
    pub users: Vec<Spanned<Account>>,
    /// Real groups.
    pub groups: Vec<Spanned<Account>>,
    /// systemd system units: names, or globs with `*`, `?`, `[a-z]`, `[!a-z]` and `{a,b}`. Never with a `/`; a
    /// backslash is a letter like others, as in `\\x2d`.
    pub units: Vec<Spanned<String>>,
    /// Cgroups, as paths below the cgroup v2 mount that begin with `/` and don't end with one (but for `/`
    /// itself): that group and everything below it. With `*`, `?`, `[` or `{` a glob as in [`Pattern::Glob`]
    /// for the whole path. A backslash is a letter like others.
    pub cgroups: Vec<Spanned<String>>,
    /// Indices into [`Config::workloads`](super::Config::workloads), sorted, each once: the process that made it
    /// was a member when it did.
    pub parents: Vec<usize>,
    /// The same for any process up the chain, or the process itself before an exec.
    pub ancestors: Vec<usize>,
    /// Whether everything that members start, and what they turn into by exec, stays a member.
    pub descendants: bool,
    /// Where the workload was defined.
    pub place: Place,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// Its number; never `u32::MAX`, which stands for nobody.
    Id(u32),
    /// Its name on this host, which may not exist; never only digits.
    Name(String),
}

/// Names files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The file at this absolute path, which may not exist.
    Path(String),
    /// The files whose absolute path matches. `*` and `?` don't match `/`; `**` is always a whole component
    /// and matches any number of them; `[a-z]`, `[!a-z]` and `{a,b}` (not nested) match within a component;
    /// there is no escape character.
    Glob(String),
    /// A kind of file. Only in [`Exec::files`].
    Class(Class),
}

impl Pattern {
    /// As it is written.
    pub fn text(&self) -> &str {
        match self {
            Self::Path(text) | Self::Glob(text) => text,
            Self::Class(class) => class.name(),
        }
    }
}

/// Who may talk to a database. At least one of `ports` and `sockets` isn't empty, and at least one of `clients`,
/// `servers` and `sources` is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Unique among all rules.
    pub name: String,
    /// What kind of database, for people.
    pub engine: Option<String>,
    /// Ports, TCP and UDP; sorted, no two overlap. Remote for `clients`, local for `servers` and `sources`.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Addresses at which the ports are meant, as networks (see [`Protect::prefixes`](super::Protect::prefixes)),
    /// each once: remote for `clients`, local for `servers` and `sources`. Empty: any.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Unix sockets by the path of their file; never a [`Pattern::Class`].
    pub sockets: Vec<Spanned<Pattern>>,
    /// Who may connect: indices into [`Config::workloads`](super::Config::workloads), sorted, each once. Empty:
    /// nobody. `None`: not ruled.
    pub clients: Option<Vec<usize>>,
    /// Who may bind and listen; like `clients`.
    pub servers: Option<Vec<usize>>,
    /// Remote networks that may reach the local ports, each once. Empty: none. `None`: not ruled. Given only with
    /// `ports`.
    pub sources: Option<Vec<(IpAddr, u8)>>,
    /// Whether connections of others than `clients` that are older than the policy are closed; else they are listed
    /// and counted.
    pub close_existing: bool,
    /// `Deny` or `Alert`.
    pub action: Action,
    /// The rule's own mode, else that of the configuration.
    pub mode: Mode,
    /// What holds while the agent is gone.
    pub when_stale: WhenStale,
    /// What it is about, for people.
    pub about: About,
    /// Whether to observe where the kernel can't enforce.
    pub degrade: bool,
    /// Whether it may lock administrators out.
    pub force: bool,
    /// Where the rule was defined.
    pub place: Place,
}

/// What may or must not be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Unique among all rules.
    pub name: String,
    /// Who executes: indices into [`Config::workloads`](super::Config::workloads), sorted, each once, never empty.
    /// `None`: anybody.
    pub by: Option<Vec<usize>>,
    /// Real users who execute. Empty: any.
    pub users: Vec<Spanned<Account>>,
    /// Whom the rule is not for, like `by`. Empty: nobody; always so if both `by` and `users` are given.
    pub except: Vec<usize>,
    /// Whether `files` are what is acted upon, or what is not. Of `Allow` rules at least one of `by` and `users` is
    /// given.
    pub list: ListKind,
    /// What; never empty for `Deny`. Empty for `Allow`: they may execute nothing.
    pub files: Vec<Spanned<Pattern>>,
    /// What else must be true of the arguments. Only for `Deny`.
    pub args: Option<Args>,
    /// What happens.
    pub action: Action,
    /// The rule's own mode, else that of the configuration.
    pub mode: Mode,
    /// What holds while the agent is gone.
    pub when_stale: WhenStale,
    /// What it is about, for people.
    pub about: About,
    /// Whether to observe where the kernel can't enforce.
    pub degrade: bool,
    /// Whether it may lock administrators out.
    pub force: bool,
    /// Where the rule was defined.
    pub place: Place,
}

/// A condition about arguments: one of them, not the program's own name, does one of these. At least one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// It contains this text; none is empty, or has a zero byte.
    pub contains: Vec<Spanned<String>>,
    /// It matches this glob as a whole: `*` (also `/`), `?` (one byte), `[a-z]`, `[!a-z]` and `{a,b}` (not
    /// nested); there is no escape character.
    pub globs: Vec<Spanned<String>>,
}

/// Who alone may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// Indices into [`Config::workloads`](super::Config::workloads), sorted, each once. Empty: nobody.
    pub allow: Vec<usize>,
    /// `Alert` or `Deny`.
    pub action: Action,
    /// Its own mode, else that of the configuration.
    pub mode: Mode,
    /// What holds while the agent is gone.
    pub when_stale: WhenStale,
    /// What it is about, for people.
    pub about: About,
    /// Whether to make do with what the kernel can.
    pub degrade: bool,
    /// Where it was said.
    pub place: Place,
}
