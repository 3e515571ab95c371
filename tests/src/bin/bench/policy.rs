//! A policy as large as a careful administrator's: a hundred workloads and a hundred rules.

use std::{fmt::Write, fs};

use anyhow::Result;
use tests::place::Place;

use crate::operation::Pace;

/// Workloads in the policy.
pub const WORKLOADS: usize = 100;
/// Exec rules in the policy.
pub const EXEC_RULES: usize = 50;
/// Database rules in the policy.
pub const DATABASE_RULES: usize = 50;

/// The policy's text. Its last workloads are the programs that are timed; its last rule of each kind is about them and
/// lets them do what they do, so that each verdict is made after a look at everything.
pub fn rules(place: &Place, pace: &Pace) -> Result<String> {
    let mut text = String::new();
    let services = place.directory("opt")?;
    for number in 0..WORKLOADS - 2 {
        // The plain path is a file that is there; the globs look for others.
        let home = place.directory(&format!("opt/service-{number}"))?;
        fs::write(home.join("server"), "not a program\n")?;
        let (home, services) = (home.display(), services.display());
        write!(
            text,
            "[[workload]]\nname = \"service {number}\"\n\
             exe = [\"{home}/server\", \"{services}/v*/service-{number}/worker-?\"]\n\n"
        )?;
    }
    for (name, program) in [("started", &pace.exit0), ("pace", &pace.program)] {
        write!(text, "[[workload]]\nname = \"{name}\"\nexe = [\"{}\"]\n\n", program.display())?;
    }
    for number in 0..EXEC_RULES {
        let by = if number + 1 == EXEC_RULES { "pace".into() } else { format!("service {number}") };
        write!(
            text,
            "[[exec]]\nname = \"no tools {number}\"\nby = [\"{by}\"]\n\
             deny = [\"{}/tools-{number}/**\", \"/usr/bin/tool-{number}-*\", \"@memfd\"]\naction = \"deny\"\n\n",
            services.display()
        )?;
    }
    for number in 0..DATABASE_RULES {
        let last = number + 1 == DATABASE_RULES;
        let port = if last { pace.server.port() } else { free_port(number, pace.server.port()) };
        let client = if last { "pace".into() } else { format!("service {number}") };
        write!(
            text,
            "[[database]]\nname = \"database {number}\"\nengine = \"postgres\"\n\
             ports = [{port}]\nclients = [\"{client}\"]\naction = \"deny\"\n\n"
        )?;
    }
    Ok(text)
}

/// A port for a database that nobody asks: below those that the kernel gives away, but never the server's.
fn free_port(number: usize, taken: u16) -> u16 {
    let port = 5_000 + number as u16;
    if port == taken { 4_999 } else { port }
}
