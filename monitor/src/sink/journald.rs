//! The journal, by its native protocol: a datagram of fields for each event
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use std::{
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use super::{
    level,
    remote::{Failure, Remote},
};
use crate::{event::Event, metrics::Loss, render::Style};

/// `MESSAGE_ID` of findings: drawn once, for `journalctl MESSAGE_ID=...`.
const FINDING_ID: &str = "9c2a6f0c4ad94a3f8d5b1e7e6c0d2f41";
/// How long the journal may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// The journal's socket.
pub(super) struct Journald {
    path: PathBuf,
    style: Style,
    socket: Option<UnixDatagram>,
}

impl Journald {
    pub fn new(path: PathBuf, style: Style) -> Self {
        Self { path, style, socket: None }
    }

    fn connect(&mut self) -> anyhow::Result<&UnixDatagram> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound().context("can't make a socket")?;
            socket
                .connect(&self.path)
                .with_context(|| format!("can't reach the journal at {}", self.path.display()))?;
            socket.set_write_timeout(Some(PATIENCE)).context("can't set a time limit")?;
            self.socket = Some(socket);
        }
        self.socket.as_ref().context("no socket")
    }

    fn send_one(&mut self, fields: &[u8]) -> Result<(), Failure> {
        let socket = self.connect().map_err(Failure::Away)?;
        let sent = match socket.send(fields) {
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                send_file(socket, fields)
            }
            sent => sent.map(drop),
        };
        sent.map_err(|error| {
            self.socket = None;
            if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) {
                return Failure::Never(1, Loss::TooLarge, error.into());
            }
            Failure::Away(anyhow::Error::new(error).context("can't write to the journal"))
        })
    }
}

impl Remote for Journald {
    fn batch(&self) -> usize {
        256
    }

    fn send(&mut self, events: &[Arc<Event>]) -> (usize, Result<(), Failure>) {
        let mut bytes = Vec::new();
        for (index, event) in events.iter().enumerate() {
            bytes.clear();
            fields(event, self.style, &mut bytes);
            if let Err(failure) = self.send_one(&bytes) {
                return (index, Err(failure));
            }
        }
        (events.len(), Ok(()))
    }
}

/// What is too large for a datagram goes in a file in memory that nobody can change any more.
fn send_file(socket: &UnixDatagram, fields: &[u8]) -> io::Result<()> {
    let file = memfd_create("journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(fields)?;
    let file = OwnedFd::from(file);
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(socket, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The fields of an event.
fn fields(event: &Event, style: Style, out: &mut Vec<u8>) {
    let mut line = Vec::new();
    style.line(event, &mut line);
    line.pop();
    let mut put = |name: &str, value: &[u8]| field(name, value, out);
    match &event.finding {
        Some(finding) => {
            put("MESSAGE", format!("{}: {}", finding.rule, finding.why).as_bytes());
            put("MESSAGE_ID", FINDING_ID.as_bytes());
            put("MONITOR_RULE", finding.rule.as_bytes());
            put("MONITOR_RULE_KIND", finding.rule_kind.name().as_bytes());
            put("MONITOR_VERDICT", monitor_common::policy::verdict::name(finding.verdict).as_bytes());
            put("MONITOR_MODE", finding.mode.name().as_bytes());
            put("MONITOR_COUNT", finding.count().to_string().as_bytes());
            if let Some(severity) = finding.tags.severity {
                put("MONITOR_SEVERITY", severity.as_bytes());
            }
            if let Some(practice) = &finding.tags.practice {
                put("MONITOR_PRACTICE", practice.as_bytes());
            }
            // A field may be there several times.
            finding.tags.attack.iter().for_each(|id| put("MONITOR_ATTACK", id.as_bytes()));
        }
        None => put("MESSAGE", &line),
    }
    put("PRIORITY", level::syslog(event).to_string().as_bytes());
    put("SYSLOG_IDENTIFIER", b"monitor");
    put("MONITOR_KIND", event.kind.name().as_bytes());
    put("MONITOR_SUBJECT", event.subject().to_string().as_bytes());
    put("MONITOR_OBJECT", event.object().to_string().as_bytes());
    if let Some(who) = &event.actor {
        put("OBJECT_PID", who.process.pid.to_string().as_bytes());
        put("MONITOR_UID", who.process.uid.to_string().as_bytes());
        if let Some(unit) = who.place.as_ref().and_then(|place| place.placement.unit.as_deref()) {
            put("MONITOR_UNIT", unit.as_bytes());
        }
    }
    put("MONITOR_LINE", &line);
}

/// `NAME=value` where the value is one line, else the form with a length.
fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
