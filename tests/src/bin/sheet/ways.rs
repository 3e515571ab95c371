//! The ways of enforcing: a rule, what is tried against it, and what may come of that.

mod execs;
mod packets;
mod sockets;

use anyhow::Result;
use tests::agent::Agent;

use crate::stage::Stage;

/// What came of trying.
pub struct Outcome {
    /// `works`, `falls back`, or `fails`: the agent runs, and what the rule says isn't done.
    pub result: &'static str,
    /// How, or what was seen instead.
    pub detail: String,
}

impl Outcome {
    /// As promised.
    pub fn works(how: &str) -> Self {
        Self { result: "works", detail: how.to_owned() }
    }

    /// By a lesser way.
    pub fn falls_back(to: &str) -> Self {
        Self { result: "falls back", detail: to.to_owned() }
    }

    /// Not.
    pub fn fails(seen: impl Into<String>) -> Self {
        Self { result: "fails", detail: seen.into() }
    }

    /// `works`, if what was seen is what it must be.
    pub fn of(how: &str, seen: &[(&str, String, &str)]) -> Self {
        let wrong = seen.iter().find(|(_, seen, expected)| seen != expected);
        wrong.map_or_else(|| Self::works(how), |(what, seen, _)| Self::fails(format!("{what}: {seen}")))
    }
}

/// A way of enforcing.
pub struct Way {
    /// What the table calls it.
    pub name: &'static str,
    /// The rules it takes; the second argument goes into those that may be degraded.
    pub rules: fn(&Stage, &str) -> String,
    /// Whether they may.
    pub degrades: bool,
    /// Tries it.
    pub drive: fn(&Stage, &Agent<'_>) -> Result<Outcome>,
}

/// All, in the order in which they are tried: what changes the stage comes last.
pub const WAYS: &[Way] = &[
    Way { name: "events", rules: |_, _| String::new(), degrades: false, drive: execs::events },
    Way { name: "exec deny", rules: execs::deny, degrades: true, drive: execs::denied },
    Way { name: "exec kill", rules: execs::kill, degrades: true, drive: execs::killed },
    Way { name: "exec by arguments", rules: execs::arguments, degrades: true, drive: execs::argued },
    Way { name: "exec allow", rules: execs::allow, degrades: true, drive: execs::allowed },
    Way {
        name: "exec deny, renamed",
        rules: execs::renamed,
        degrades: true,
        drive: execs::renamed_is_denied,
    },
    Way { name: "connect", rules: sockets::clients, degrades: true, drive: sockets::connect },
    Way { name: "connect, renamed", rules: sockets::clients, degrades: true, drive: sockets::renamed },
    Way { name: "bind", rules: sockets::servers, degrades: true, drive: sockets::bind },
    Way { name: "sources", rules: sockets::sources, degrades: true, drive: sockets::source },
    Way { name: "unix sockets", rules: sockets::unix, degrades: true, drive: sockets::unix_connect },
    Way { name: "raw sockets", rules: sockets::raw, degrades: true, drive: sockets::raw_socket },
    Way { name: "packet sockets", rules: sockets::raw, degrades: true, drive: sockets::packet_socket },
    Way { name: "packets, in the driver", rules: packets::limits, degrades: false, drive: packets::native },
    Way { name: "packets, generic XDP", rules: packets::limits, degrades: false, drive: packets::generic },
    Way {
        name: "packets, traffic control",
        rules: packets::limits,
        degrades: false,
        drive: packets::traffic,
    },
];
