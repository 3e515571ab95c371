//! An event or finding as one JSON object on a line.

mod process;

use std::borrow::Cow;

use jiff::Timestamp;
use monitor_common::{event::Endpoint, limit::Cause, policy::verdict};
use serde::{Serialize, Serializer};

use super::{family_name, protocol_name, sentence};
use crate::event::{Detail, Event, Finding, Text, Who};
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

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    what: &'static str,
    #[serde(flatten)]
    finding: Option<FindingPart<'a>>,
    kind: &'static str,
    #[serde(serialize_with = "timestamp")]
    time: Timestamp,
    boot_ns: u64,
    #[serde(flatten)]
    process: Option<ProcessPart<'a>>,
    #[serde(flatten)]
    program: Option<ProgramPart<'a>>,
    #[serde(flatten)]
    detail: DetailPart<'a>,
}

#[derive(Serialize)]
struct FindingPart<'a> {
    rule: Cow<'a, str>,
    rule_kind: &'static str,
    verdict: &'static str,
    mode: &'static str,
    why: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DetailPart<'a> {
    Exec {
        by: Option<Exe<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        script_file: Option<File>,
    },
    Fork {
        child_pid: u32,
        child_ppid: u32,
        child_start_ns: u64,
    },
    Exit {
        exit_code: Option<u8>,
        signal: Option<u8>,
    },
    Connect {
        #[serde(flatten)]
        remote: End,
        datagram: bool,
    },
    Local(End),
    Limit {
        source: monitor_common::addr::Addr,
        source_prefix: u8,
        port: u16,
        protocol: Protocol,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'static str>,
        dropped: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        penalty_seconds: Option<u64>,
    },
    Socket {
        family: &'static str,
        protocol_number: u16,
    },
    Unix {
        direction: &'static str,
        socket: &'a Text,
    },
    Source {
        source: monitor_common::addr::Addr,
        port: u16,
        protocol: Protocol,
    },
    Held {
        #[serde(flatten)]
        remote: End,
        origin: &'static str,
        opener_pid: Option<u32>,
        opener_workload: Option<Cow<'a, str>>,
        closed: bool,
    },
}

#[derive(Serialize)]
struct End {
    addr: monitor_common::addr::Addr,
    port: u16,
    family: &'static str,
    protocol: Protocol,
}

/// An IP protocol number, shown by name.
struct Protocol(u8);

impl<'a> Line<'a> {
    fn new(event: &'a Event) -> Self {
        let who = event.actor.as_ref();
        let program = match &event.detail {
            Detail::Exec { file, program, .. } => Some(ProgramPart::new(file, program)),
            _ => who.map(|who| ProgramPart::new(&who.process.exe, &who.program)),
        };
        Self {
            what: if event.finding.is_some() { "finding" } else { "event" },
            finding: event.finding.as_ref().map(FindingPart::new),
            kind: event.kind.name(),
            time: event.time,
            boot_ns: event.boot_ns,
            process: who.map(ProcessPart::new),
            program,
            detail: DetailPart::new(&event.detail, who),
        }
    }
}

impl<'a> FindingPart<'a> {
    fn new(finding: &'a Finding) -> Self {
        Self {
            rule: sentence(&finding.rule),
            rule_kind: finding.rule_kind.name(),
            verdict: verdict::name(finding.verdict),
            mode: finding.mode.name(),
            why: sentence(&finding.why),
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
