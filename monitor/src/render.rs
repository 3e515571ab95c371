//! Events and findings as lines: for machines, and for people.

pub mod ecs;
pub mod json;
#[cfg(test)]
pub(crate) mod samples;
pub mod text;

use std::{borrow::Cow, sync::OnceLock};

use monitor_common::packet::{TCP, UDP};

use crate::event::Text;

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A JSON object.
    Json,
    /// A JSON object of the Elastic Common Schema.
    Ecs,
    /// Columns for people.
    Text {
        /// With terminal colours.
        colour: bool,
    },
}

impl Style {
    /// Appends one line, ended by a newline.
    pub fn line(self, event: &crate::event::Event, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::line(event, out),
            Self::Ecs => ecs::line(event, out),
            Self::Text { colour } => text::line(event, colour, out),
        }
    }
}

/// The name of this host, as it was when it was first asked for.
pub fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// The name of an IP protocol, else its number.
fn protocol_name(protocol: u8) -> Cow<'static, str> {
    // https://www.iana.org/assignments/protocol-numbers
    match protocol {
        TCP => "tcp".into(),
        UDP => "udp".into(),
        1 => "icmp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        other => other.to_string().into(),
    }
}

/// The name of an address family, else its number (`include/linux/socket.h`).
fn family_name(family: u16) -> &'static str {
    match family {
        2 => "ipv4",
        10 => "ipv6",
        17 => "packet",
        _ => "other",
    }
}

/// A sentence that may quote somebody else's text: made safe to show, and left as it is if it is already.
pub(crate) fn sentence(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    // Backslashes are kept apart: those of escapes that are already there must not be doubled.
    let parts: Vec<_> = text.split('\\').map(|part| Text::from(part).to_string()).collect();
    let shown = parts.join("\\");
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

#[cfg(test)]
mod tests;
