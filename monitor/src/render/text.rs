//! An event or finding as one line for people.
//!
//! ```text
//! 2026-11-23T17:40:32.000Z exec    bash[4242] /usr/bin/bash -> /usr/bin/ls -la
//! 2026-11-23T17:40:32.120Z connect DENY orders: only api may connect | psql[4243] /usr/bin/psql in cron.service -> 10.0.0.1:5432/tcp
//! 2026-11-23T17:40:33.007Z limit   would drop https: more than 50 connections/s | 192.0.2.7 -> port 443/tcp, 17 over
//! ```
//!
//! What the agent says comes first; what others chose to be called comes last, and can't look like it.

use std::{fmt, io::Write as _, net::SocketAddr};

use anstyle::{AnsiColor, Style};
use monitor_common::{
    event::{Endpoint, Kind},
    policy::{Mode, masks::Direction, verdict},
};

use super::{family_name, protocol_name, sentence};
use crate::{
    event::{Detail, Event, Finding, Program, Repeats, Text, Who, source_name},
    host::placement::Placement,
};

const TIME: Style = Style::new().dimmed();
const KIND: Style = AnsiColor::Cyan.on_default();
const RULE: Style = Style::new().bold();
const DONE: Style = AnsiColor::Red.on_default().bold();
const WOULD: Style = AnsiColor::Yellow.on_default().bold();

/// Appends the line and a newline.
pub fn line(event: &Event, colour: bool, out: &mut Vec<u8>) {
    let mut line = Line { out, colour };
    line.styled(TIME, format_args!("{:.3}", event.time));
    line.plain(format_args!(" "));
    line.styled(KIND, format_args!("{:<7}", event.kind.name()));
    if let Some(finding) = &event.finding {
        line.finding(finding);
    }
    if let Some(who) = &event.actor {
        line.who(who);
    }
    line.detail(event);
    line.plain(format_args!("\n"));
}

/// Who did what, without when, and what a rule says of it.
pub(crate) fn what(event: &Event) -> String {
    let mut out = Vec::new();
    let mut line = Line { out: &mut out, colour: false };
    if let Some(who) = &event.actor {
        line.who(who);
    }
    line.detail(event);
    String::from_utf8_lossy(&out).trim_start().to_owned()
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    colour: bool,
}

impl Line<'_> {
    fn plain(&mut self, text: fmt::Arguments) {
        // Writing to memory can't fail.
        let _ = self.out.write_fmt(text);
    }

    fn styled(&mut self, style: Style, text: fmt::Arguments) {
        if self.colour {
            self.plain(format_args!("{style}{text}{style:#}"));
        } else {
            self.plain(text);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let verdict = verdict::name(finding.verdict);
        self.plain(format_args!(" "));
        match finding.mode {
            Mode::Enforce => self.styled(DONE, format_args!("{}", verdict.to_uppercase())),
            Mode::Observe => self.styled(WOULD, format_args!("would {verdict}")),
        }
        self.plain(format_args!(" "));
        self.styled(RULE, format_args!("{}", sentence(&finding.rule)));
        self.plain(format_args!(": {}", sentence(&finding.why)));
        if let Some(Repeats { count, first, .. }) = finding.repeats {
            self.plain(format_args!(" ({count} more since {first:.0})"));
        }
        self.plain(format_args!(" |"));
    }

    fn who(&mut self, who: &Who) {
        let comm = Text::from_padded(&who.process.comm);
        self.plain(format_args!(" {}[{}]", Word(&comm), who.process.pid));
        if !who.program.path.is_empty() {
            self.plain(format_args!(" {}", Word(&who.program.path)));
        }
        if let Some(whereabouts) = who.place.as_deref().and_then(|place| whereabouts(&place.placement)) {
            self.plain(format_args!(" in {}", Word(&whereabouts)));
        }
    }

    fn detail(&mut self, event: &Event) {
        match &event.detail {
            Detail::Exec { program, .. } => self.program(program),
            Detail::Fork { child_pid, .. } => self.plain(format_args!(" -> pid {child_pid}")),
            Detail::Exit { code: Some(code), .. } => self.plain(format_args!(" exit code {code}")),
            Detail::Exit { signal: Some(signal), .. } => {
                self.plain(format_args!(" killed by signal {signal}"))
            }
            Detail::Exit { .. } => {}
            Detail::Connect { remote, .. } => self.plain(format_args!(" -> {}", End(remote))),
            Detail::Bind { local } | Detail::Listen { local } => {
                self.plain(format_args!(" on {}", End(local)))
            }
            Detail::Socket { family, protocol } => {
                self.plain(format_args!(" {} socket, protocol {protocol}", family_name(*family)))
            }
            Detail::Memory { pid, path, .. } => {
                self.plain(format_args!(" -> {}[{pid}]", Word(path)));
            }
            Detail::Unix { direction, path } => {
                let how = if *direction == Direction::Client { "->" } else { "on" };
                self.plain(format_args!(" {how} {}", Word(path)))
            }
            Detail::Source { source } => {
                let protocol = protocol_name(source.protocol);
                self.plain(format_args!(" {} -> port {}/{protocol}", source.addr, source.port));
            }
            Detail::Held { remote, .. } => self.plain(format_args!(" has {}", End(remote))),
            Detail::Limit { source, prefix, cause, over, penalty_ns } => {
                let protocol = protocol_name(source.protocol);
                let source = (source_name(&source.addr, *prefix), source.port);
                self.plain(format_args!(" {} -> port {}/{protocol}, {over} over", source.0, source.1));
                if let Some(cause) = cause {
                    self.plain(format_args!(" ({})", cause.name()));
                }
                if let Some(ns) = penalty_ns {
                    self.plain(format_args!(", dropped for {} s", ns / 1_000_000_000));
                }
            }
        }
    }

    /// A started program. Its own name (the first argument) is left out: the path says better what it is.
    fn program(&mut self, program: &Program) {
        if program.path.is_empty() {
            self.plain(format_args!(" -> ?"));
        } else {
            self.plain(format_args!(" -> {}", Word(&program.path)));
        }
        if !program.notes.is_empty() {
            self.plain(format_args!(" ({})", program.notes.join(", ")));
        }
        if let Some(script) = &program.script {
            self.plain(format_args!(" script {}", Word(script)));
        }
        for arg in program.args.iter().skip(1) {
            self.plain(format_args!(" {}", Word(arg)));
        }
        if program.args_truncated {
            self.plain(format_args!(" ..."));
        }
    }
}

/// The unit or the container. A container that only the unit around it vouches for stands behind that unit's name, in which
/// no `/` can be.
fn whereabouts(placement: &Placement) -> Option<Text> {
    let unit = placement.unit.as_deref();
    // Who watches over a container is not inside of it.
    let Some(container) = placement.container.as_ref().filter(|container| !container.monitor) else {
        return unit.map(Text::from);
    };
    let id = container.id.bytes();
    // Random ids are known by their beginning, as the runtimes' own lists show them; names are left whole.
    let is_random = id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit);
    let name = [container.runtime.name().as_bytes(), b":", if is_random { &id[..12] } else { id }].concat();
    let own = |unit: &str| str::from_utf8(id).is_ok_and(|id| unit.contains(id));
    Some(match unit {
        Some(unit) if placement.user.is_some() || !own(unit) => {
            Text::new([unit.as_bytes(), b"/", &name[..]].concat())
        }
        _ => Text::new(name),
    })
}

/// Somebody else's text as one word: quoted if it has blanks, quotes or what separates columns, or is empty.
struct Word<'a>(&'a Text);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.to_string();
        let special = |character: char| character.is_whitespace() || matches!(character, '"' | '\'' | '|');
        if shown.is_empty() || shown.contains(special) {
            write!(f, "\"{}\"", shown.replace('"', "\\\""))
        } else {
            f.write_str(&shown)
        }
    }
}

/// One end of a conversation: `address:port/protocol`.
struct End<'a>(&'a Endpoint);

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = SocketAddr::new(self.0.addr.into(), self.0.port);
        write!(f, "{socket}/{}", protocol_name(self.0.protocol))
    }
}

/// The column of kinds is as wide as the longest.
const _: () = {
    let mut index = 0;
    while index < Kind::ALL.len() {
        assert!(Kind::ALL[index].name().len() <= 7);
        index += 1;
    }
};

#[cfg(test)]
mod tests;
