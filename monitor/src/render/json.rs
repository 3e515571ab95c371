//! An event or finding as one JSON object on a line.

mod finding;
mod process;
pub mod schema;

use std::borrow::Cow;

use jiff::Timestamp;
use monitor_common::{event::Endpoint, limit::Cause};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{family_name, protocol_name, sentence};
use crate::event::{Detail, Event, Text, Who};
use finding::FindingPart;
use process::{Exe, File, ProcessPart, ProgramPart};

/// Appends the object and a newline.
pub fn line(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, &Line::new(event)) {
        // Writing to memory and text keys can't fail; if it does, half an object is worse than none.
        tracing::error!("can't write {} event as JSON: {error}", event.kind.name());
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

/// Version of the format. It goes up when a field changes its meaning or goes; new fields may come without.
pub const VERSION: u32 = 1;

/// The object.
#[must_use]
pub fn value(event: &Event) -> serde_json::Value {
    // Text keys can't fail, see above.
    serde_json::to_value(Line::new(event)).unwrap_or_default()
}

/// What the host security agent `monitor` tells of: one object a line. Skip fields that you don't know.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "monitor finding or event")]
struct Line<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    finding: Option<FindingPart<'a>>,
    #[serde(flatten)]
    process: Option<ProcessPart<'a>>,
    #[serde(flatten)]
    program: Option<ProgramPart<'a>>,
    #[serde(flatten)]
    detail: DetailPart<'a>,
}

/// In every line.
#[derive(Serialize, JsonSchema)]
struct Head<'a> {
    /// `finding` if a rule said more than "allow", else `event`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["event", "finding"]))]
    what: &'static str,
    /// Version of this format. It goes up when a field changes its meaning or goes.
    version: u32,
    /// What happened: `exec`, `fork`, `exit`, `connect`, `bind`, `listen`, `limit`, `socket`, `unix`, `source`, `held` or `memory`.
    kind: &'static str,
    /// When, in UTC (RFC 3339, with nanoseconds).
    #[serde(serialize_with = "timestamp")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    time: Timestamp,
    /// When, nanoseconds since boot, by the clock that goes on in suspend.
    boot_ns: u64,
    /// Name of the host.
    host: Cow<'a, str>,
}

/// What happened, by kind.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum DetailPart<'a> {
    /// exec: a program was started, or refused.
    Exec {
        /// What the process ran before; `null` if that isn't known.
        by: Option<Exe<'a>>,
        /// The script that `exe` interprets, where a security hook saw it.
        #[serde(skip_serializing_if = "Option::is_none")]
        script_file: Option<File>,
    },
    /// fork: a process was made.
    Fork {
        /// The new process.
        child_pid: u32,
        /// Its parent.
        child_ppid: u32,
        /// Its start time, nanoseconds since boot.
        child_start_ns: u64,
    },
    /// exit: the last thread of a process ended.
    Exit {
        /// Exit code, if it ended by itself.
        exit_code: Option<u8>,
        /// The signal that ended it.
        signal: Option<u8>,
    },
    /// connect: a conversation was about to be opened.
    Connect {
        #[serde(flatten)]
        remote: End,
        /// Whether it is a datagram without a connection.
        datagram: bool,
    },
    /// bind and listen: a socket got its local port, or began to listen.
    Local(End),
    /// limit: a source went over a rate limit.
    Limit {
        /// The source, as far as the limit tells sources apart.
        #[schemars(with = "String")]
        source: monitor_common::addr::Addr,
        /// How many bits of it that is.
        source_prefix: u8,
        /// Where the packet at hand went, on this host.
        port: u16,
        /// Protocol of that packet.
        protocol: Protocol,
        /// What was too much: `packets`, `connections`, `bytes`; `newcomers` or `crowd` for sources without a place in the
        /// table; `penalty`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'static str>,
        /// Packets of this source over this limit since it last had its whole burst.
        dropped: u32,
        /// How long the penalty is that this packet brought about.
        #[serde(skip_serializing_if = "Option::is_none")]
        penalty_seconds: Option<u64>,
    },
    /// socket: a raw or packet socket was asked for.
    Socket {
        /// `ipv4`, `ipv6`, `packet` or `other`.
        family: &'static str,
        /// IP protocol, or of a packet socket the link protocol.
        protocol_number: u16,
    },
    /// memory: a process was about to get at the memory of another one.
    Memory {
        /// The other process.
        target_pid: u32,
        /// Its start time, nanoseconds since boot.
        target_start_ns: u64,
        /// Path of what it runs; `null` if not known.
        #[schemars(with = "Option<String>")]
        target_exe: Option<&'a Text>,
    },
    /// unix: a socket that a `[[database]]` names was about to be connected to, or a socket to be given such a name.
    Unix {
        /// `client`: to be connected to; `server`: to be given the name.
        direction: &'static str,
        /// Where the listening socket's file lies in the host's tree.
        #[schemars(with = "String")]
        socket: &'a Text,
    },
    /// source: a packet came for a database from where none may.
    Source {
        /// The sender.
        #[schemars(with = "String")]
        source: monitor_common::addr::Addr,
        /// What it asked for on this host.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
    /// held: a connection to a database was found in the hands of who may not have opened it.
    Held {
        #[serde(flatten)]
        remote: End,
        /// `existing`: it is older than the policy; `handover`: somebody else opened it.
        origin: &'static str,
        /// Who opened it.
        opener_pid: Option<u32>,
        /// The first workload of who opened it.
        opener_workload: Option<Cow<'a, str>>,
        /// Whether it was closed.
        closed: bool,
    },
}

/// One end of a conversation.
#[derive(Serialize, JsonSchema)]
struct End {
    /// The address: of connects and held connections the other end's, of binds and listens the local one.
    #[schemars(with = "String")]
    addr: monitor_common::addr::Addr,
    /// The port.
    port: u16,
    /// Of the socket: `ipv4`, `ipv6`.
    family: &'static str,
    /// `tcp`, `udp`, another name, or a number.
    protocol: Protocol,
}

/// An IP protocol number, shown by name.
#[derive(JsonSchema)]
#[schemars(with = "String")]
struct Protocol(u8);

impl<'a> Line<'a> {
    fn new(event: &'a Event) -> Self {
        let who = event.actor.as_ref();
        let program = match &event.detail {
            Detail::Exec { file, program, .. } => Some(ProgramPart::new(file, program)),
            _ => who.map(|who| ProgramPart::new(&who.process.exe, &who.program)),
        };
        Self {
            head: Head {
                what: if event.finding.is_some() { "finding" } else { "event" },
                version: VERSION,
                kind: event.kind.name(),
                time: event.time,
                boot_ns: event.boot_ns,
                host: sentence(super::host()),
            },
            finding: event.finding.as_ref().map(|finding| FindingPart::new(finding, event)),
            process: who.map(ProcessPart::new),
            program,
            detail: DetailPart::new(&event.detail, who),
        }
    }
}

impl<'a> DetailPart<'a> {
    fn new(detail: &'a Detail, who: Option<&'a Who>) -> Self {
        match *detail {
            Detail::Exec { ref script, .. } => Self::Exec {
                by: who.map(|who| Exe::new(&who.process.exe, &who.program)),
                script_file: script.as_ref().map(File::new),
            },
            Detail::Fork { child_pid, child_ppid, child_start_ns } => {
                Self::Fork { child_pid, child_ppid, child_start_ns }
            }
            Detail::Exit { code, signal } => Self::Exit { exit_code: code, signal },
            Detail::Connect { ref remote, datagram } => Self::Connect { remote: End::new(remote), datagram },
            Detail::Bind { ref local } | Detail::Listen { ref local } => Self::Local(End::new(local)),
            Detail::Socket { family, protocol } => {
                Self::Socket { family: family_name(family), protocol_number: protocol }
            }
            Detail::Memory { pid, start_ns, ref path } => Self::Memory {
                target_pid: pid,
                target_start_ns: start_ns,
                target_exe: Some(path).filter(|path| !path.is_empty()),
            },
            Detail::Unix { direction, ref path } => Self::Unix { direction: direction.name(), socket: path },
            Detail::Source { ref source } => {
                Self::Source { source: source.addr, port: source.port, protocol: Protocol(source.protocol) }
            }
            Detail::Held { ref remote, ref opener, closed } => {
                let opener = opener.as_ref();
                Self::Held {
                    remote: End::new(remote),
                    origin: if opener.is_some() { "handover" } else { "existing" },
                    opener_pid: opener.map(|opener| opener.pid),
                    opener_workload: opener.and_then(|opener| opener.workload.as_deref()).map(sentence),
                    closed,
                }
            }
            Detail::Limit { ref source, prefix, cause, over, penalty_ns } => Self::Limit {
                source: source.addr,
                source_prefix: prefix,
                port: source.port,
                protocol: Protocol(source.protocol),
                cause: cause.map(Cause::name),
                dropped: over,
                penalty_seconds: penalty_ns.map(|ns| ns / 1_000_000_000),
            },
        }
    }
}

impl End {
    fn new(end: &Endpoint) -> Self {
        Self {
            addr: end.addr,
            port: end.port,
            family: if end.family == 4 { "ipv4" } else { "ipv6" },
            protocol: Protocol(end.protocol),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&protocol_name(self.0))
    }
}

/// RFC 3339 with all nanoseconds, so that lines sort and columns align.
fn timestamp<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.9}"))
}

fn optional_timestamp<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => timestamp(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
