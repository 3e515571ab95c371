//! What can be asked of a policy: the same words on the command line, in files of cases and in batches.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};

/// A request.
#[derive(Clone, Debug, clap::Subcommand, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// A process connects to an address, or sends a datagram there.
    #[command(
        after_help = "Example:\n  monitor explain connect --exe /usr/bin/psql --user app --to 10.0.0.5:5432"
    )]
    Connect(Connect),
    /// A process executes a file.
    #[command(after_help = "Examples:\n  \
        monitor explain exec --by /usr/bin/api-server --file /bin/sh\n  \
        monitor explain exec --by /usr/bin/api-server --script /usr/bin/psql\n  \
        monitor explain exec --by /usr/bin/api-server --file /usr/bin/psql --args --command 'select 1'\n  \
        monitor explain exec --user www-data --file @memfd")]
    Exec(Exec),
    /// A process binds a socket to an address, to be the server there.
    #[command(after_help = "Example:\n  monitor explain bind --exe /usr/bin/nc --to 0.0.0.0:5432")]
    Bind(Bind),
    /// A packet arrives from another host. What comes over the loopback device is never judged.
    #[command(after_help = "Example:\n  monitor explain source --from 10.9.9.9 --to-port 5432")]
    Source(Source),
    /// A process connects to a unix socket, or makes one.
    #[command(
        after_help = "Example:\n  monitor explain unix --exe /usr/bin/psql --socket /run/postgresql/.s.PGSQL.5432"
    )]
    Unix(Unix),
    /// A process opens a raw or packet socket.
    #[command(after_help = "Example:\n  monitor explain raw --exe /usr/bin/tcpdump")]
    Raw(Raw),
}

/// The process that asks. What isn't given is not known, and no workload that asks for it has the process as a member.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default)]
pub struct Who {
    /// The program that the process runs: an absolute path, or @memfd, @deleted, @unplaced. It need not exist here.
    #[arg(long, visible_alias = "by", value_name = "FILE")]
    #[serde(alias = "by")]
    pub exe: Option<String>,
    /// Its real user: a name or a number. A name that is unknown here is taken as some user of that name.
    #[arg(long, value_name = "USER")]
    #[serde(deserialize_with = "word")]
    pub user: Option<String>,
    /// Its real group, in the same way.
    #[arg(long, value_name = "GROUP")]
    #[serde(deserialize_with = "word")]
    pub group: Option<String>,
    /// Its cgroup, as a path below the mount of the cgroup v2 tree.
    #[arg(long, value_name = "PATH", conflicts_with = "unit")]
    pub cgroup: Option<String>,
    /// Its systemd unit; the same as --cgroup /system.slice/UNIT.
    #[arg(long, value_name = "UNIT")]
    pub unit: Option<String>,
    /// Workloads that the process which made it was a member of.
    #[arg(long, value_name = "WORKLOAD", num_args = 1..)]
    pub parent: Vec<String>,
    /// Workloads that a process further up was a member of, or it itself before it executed its program.
    #[arg(long, value_name = "WORKLOAD", num_args = 1..)]
    pub ancestor: Vec<String>,
}

/// See [`Request::Connect`].
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Who.
    #[command(flatten)]
    #[serde(flatten)]
    pub who: Who,
    /// Where to: an address and a port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: End,
    /// Over UDP instead of TCP.
    #[arg(long)]
    #[serde(default)]
    pub udp: bool,
}

/// See [`Request::Exec`].
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Who executes.
    #[command(flatten)]
    #[serde(flatten)]
    pub who: Who,
    /// The file that is executed: an absolute path, or @memfd, @deleted, @unplaced. It need not exist here. If it is a script here, it
    /// is judged with its interpreter; after --script it is that interpreter.
    #[arg(long, value_name = "FILE", required_unless_present = "script")]
    #[serde(default)]
    pub file: Option<String>,
    /// The script that is executed. What runs is its interpreter: that of its first line, or --file if it can't be read here.
    #[arg(long, value_name = "FILE")]
    #[serde(default)]
    pub script: Option<String>,
    /// Its arguments, without the program's own name. Takes all words that follow.
    #[arg(long, value_name = "ARG", num_args = 0.., allow_hyphen_values = true)]
    #[serde(default)]
    pub args: Vec<String>,
}

/// See [`Request::Bind`].
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Who.
    #[command(flatten)]
    #[serde(flatten)]
    pub who: Who,
    /// The local address and port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: End,
    /// Over UDP instead of TCP.
    #[arg(long)]
    #[serde(default)]
    pub udp: bool,
}

/// See [`Request::Source`].
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The address that the packet comes from.
    #[arg(long, value_name = "ADDRESS")]
    pub from: IpAddr,
    /// The local port that it is for.
    #[arg(long, value_name = "PORT")]
    #[serde(alias = "to-port")]
    pub to_port: u16,
    /// The local address that it is for. Without it, a rule with `addresses` doesn't match.
    #[arg(long, value_name = "ADDRESS")]
    #[serde(default)]
    pub to: Option<IpAddr>,
    /// Over UDP instead of TCP.
    #[arg(long)]
    #[serde(default)]
    pub udp: bool,
}

/// See [`Request::Unix`].
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unix {
    /// Who.
    #[command(flatten)]
    #[serde(flatten)]
    pub who: Who,
    /// The path of the socket.
    #[arg(long, value_name = "PATH")]
    pub socket: String,
    /// It makes the socket, to be the server, instead of connecting to it.
    #[arg(long)]
    #[serde(default)]
    pub bind: bool,
}

/// See [`Request::Raw`].
#[derive(Clone, Debug, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Who.
    #[command(flatten)]
    #[serde(flatten)]
    pub who: Who,
}

impl Request {
    /// The process that asks; nobody of this host for packets.
    #[must_use]
    pub fn who(&self) -> Option<&Who> {
        match self {
            Self::Connect(Connect { who, .. })
            | Self::Exec(Exec { who, .. })
            | Self::Bind(Bind { who, .. })
            | Self::Unix(Unix { who, .. })
            | Self::Raw(Raw { who }) => Some(who),
            Self::Source(_) => None,
        }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End(pub SocketAddr);

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            "it is no address with a port; write for example 10.0.0.5:5432 or [fd00::5]:5432 (names aren't looked up)"
                .to_owned()
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|why| de::Error::custom(format_args!("{text:?}: {why}")))
    }
}

/// A user or group: a name, or a number with or without quotes.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Name(String),
        Number(u32),
    }
    Ok(Option::<Word>::deserialize(from)?.map(|word| match word {
        Word::Name(name) => name,
        Word::Number(number) => number.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Request, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_is_read_from_json() {
        let Ok(Request::Connect(connect)) =
            read(r#"{"connect": {"exe": "/a", "user": 1000, "to": "[::1]:5432", "udp": true}}"#)
        else {
            panic!("no connect")
        };
        assert_eq!(connect.who.exe.as_deref(), Some("/a"));
        assert_eq!(connect.who.user.as_deref(), Some("1000"));
        assert_eq!(connect.to.to_string(), "[::1]:5432");
        assert!(connect.udp);
        assert!(matches!(read(r#"{"exec": {"by": "/a", "file": "/b"}}"#), Ok(Request::Exec(_))));
        assert!(matches!(read(r#"{"raw": {}}"#), Ok(Request::Raw(_))));
    }

    #[test]
    fn a_slip_is_told() {
        for (json, told) in [
            (r#"{"connect": {"to": "10.0.0.5:5432", "usr": "app"}}"#, "usr"),
            (r#"{"connect": {"exe": "/a"}}"#, "to"),
            (r#"{"connect": {"to": "db:5432"}}"#, "names aren't looked up"),
            (r#"{"conect": {}}"#, "conect"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
