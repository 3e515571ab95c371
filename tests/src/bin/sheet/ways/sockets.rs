//! Sockets. A server's log of what arrived, and what system calls answered, are the oracle.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    agent::Agent,
    wait::{deadline, eventually},
};

use super::Outcome;
use crate::stage::{LISTED, Stage, only};

/// How often each is tried.
const TIMES: u64 = 5;

pub fn clients(stage: &Stage, degrade: &str) -> String {
    let ports = stage.database.ports();
    format!(
        "[[database]]\nname = \"orders\"\nports = {ports:?}\nclients = [\"client\", \"moved\"]\n{degrade}\n"
    )
}

/// How a program gets on with the database over TCP and UDP and both families.
fn everywhere(stage: &Stage, name: &str) -> Result<Vec<(&'static str, String, u64)>> {
    let (tcp, udp) = (stage.database.tcp(), stage.database.udp());
    let ways: [(&str, &str, SocketAddr); 6] = [
        ("TCP over IPv4", "tcp", tcp[0]),
        ("TCP over IPv6", "tcp", tcp[1]),
        ("UDP over IPv4", "udp", udp[0]),
        ("UDP over IPv6", "udp", udp[1]),
        ("sendto over IPv4", "sendto", udp[0]),
        ("sendto over IPv6", "sendto", udp[1]),
    ];
    let mut seen = Vec::new();
    for (what, way, to) in ways {
        let tag = format!("{name} {what}");
        let outcome = stage.speak(name, way, to, TIMES, &tag)?;
        if outcome == "ok" {
            stage.database.wait_for(&tag, TIMES, deadline(10.0))?;
        }
        seen.push((what, outcome, stage.database.arrived(Some(&tag))?));
    }
    Ok(seen)
}

pub fn connect(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    for (what, outcome, _) in everywhere(stage, "client")? {
        ensure!(outcome == "ok", "{what} by a client: {outcome}");
    }
    for (what, outcome, arrived) in everywhere(stage, "stranger")? {
        if (outcome.as_str(), arrived) != ("EPERM", 0) {
            return Ok(Outcome::fails(format!("{what}: {outcome}, {arrived} arrived")));
        }
    }
    Ok(Outcome::works("refused with EPERM"))
}

/// A client is its file: it stays one under another name, and a copy of it isn't one.
pub fn renamed(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    fs::rename(stage.place.join("moved"), stage.place.join("moved away"))?;
    stage.place.copy("probe", "copies/moved")?;
    let to = stage.database.tcp()[0];
    // The rename moved its change time, so the agent has to look at it again, which it does each second.
    let found = eventually("the client under its new name", deadline(5.0), || {
        Ok((stage.speak("moved away", "tcp", to, 1, "moved away")? == "ok").then_some(()))
    });
    let found = if found.is_ok() { "ok" } else { "EPERM" }.to_owned();
    let copied = stage.speak("copies/moved", "tcp", to, TIMES, "copy")?;
    let seen = [("the client under its new name", found, "ok"), ("a copy", copied, "EPERM")];
    Ok(Outcome::of("the file counts, not its name", &seen))
}

pub fn servers(stage: &Stage, degrade: &str) -> String {
    let port = stage.served;
    format!("[[database]]\nname = \"served\"\nports = [{port}]\nservers = [\"client\"]\n{degrade}\n")
}

pub fn bind(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    let bind = |name: &str, way: &str, host: &str| -> Result<String> {
        let at = format!("{host}:{}", stage.served);
        let said = stage.program(name)?.arg("bind").with("way", way).with("to", &at).json(deadline(20.0))?;
        only(&said[&at], 1)
    };
    let mut seen = Vec::new();
    for (way, host) in [("tcp", "127.0.0.1"), ("tcp", "[::1]"), ("udp", "127.0.0.1"), ("udp", "[::1]")] {
        seen.push(("bind by a stranger", bind("stranger", way, host)?, "EPERM"));
        seen.push(("bind by the server, afterwards", bind("client", way, host)?, "ok"));
    }
    Ok(Outcome::of("refused with EPERM, the port given back", &seen))
}

pub fn sources(_: &Stage, degrade: &str) -> String {
    format!("[[database]]\nname = \"listed\"\nports = [{LISTED}]\nsources = [\"10.94.0.0/24\"]\n{degrade}\n")
}

pub fn source(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    let seen = [
        ("from a listed network", stage.send(0, LISTED, TIMES, "listed")?.to_string(), "5"),
        ("from elsewhere", stage.send(1, LISTED, TIMES, "unlisted")?.to_string(), "0"),
    ];
    Ok(Outcome::of("the packet is dropped at the socket", &seen))
}

pub fn unix(stage: &Stage, degrade: &str) -> String {
    let sockets = ["stream", "datagram"].map(|kind| stage.place.join(kind));
    format!("[[database]]\nname = \"local\"\nsockets = {sockets:?}\nclients = [\"client\"]\n{degrade}\n")
}

pub fn unix_connect(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    let mut seen = Vec::new();
    for (name, expected) in [("client", "ok"), ("stranger", "EPERM")] {
        for kind in ["stream", "datagram"] {
            let client =
                stage.program(name)?.arg("unix").with("kind", kind).with("to", stage.place.join(kind));
            seen.push((kind, only(&client.json(deadline(20.0))?, 1)?, expected));
        }
    }
    Ok(Outcome::of("refused with EPERM", &seen))
}

pub fn raw(_: &Stage, degrade: &str) -> String {
    format!("[raw_sockets]\nallow = [\"client\"]\naction = \"deny\"\n{degrade}\n")
}

fn opened(stage: &Stage, what: &[&str]) -> Result<Outcome> {
    let mut seen = Vec::new();
    for (name, expected) in [("client", "ok"), ("stranger", "EPERM")] {
        let outcomes: Value = stage.program(name)?.arg("raw").json(deadline(20.0))?;
        for kind in what {
            seen.push((*kind, outcomes[kind].as_str().context("an outcome")?.to_owned(), expected));
        }
    }
    Ok(Outcome::of("refused with EPERM", &seen))
}

pub fn raw_socket(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    opened(stage, &["inet raw", "inet raw tcp", "inet6 raw"])
}

pub fn packet_socket(stage: &Stage, _: &Agent<'_>) -> Result<Outcome> {
    opened(stage, &["packet raw", "packet datagram"])
}
