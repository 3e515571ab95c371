//! What the agent says of the kernel by itself.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{program::Program, wait::deadline};

use crate::row;

/// From how many instructions on a program is too near to the million that the verifier walks through.
const NEARLY_TOO_MUCH: u64 = 750_000;

/// The rows of `monitor doctor`; it failing as a whole is a row, too.
pub fn capabilities() -> Result<()> {
    let end = Program::monitor()?.args(["doctor", "--json"]).finish(deadline(60.0))?;
    let Ok(report) = end.json() else {
        row("capability", "doctor", "refused", end.stderr.trim());
        return Ok(());
    };
    for capability in report["capabilities"].as_array().context("no capabilities in the report")? {
        row("capability", text(capability, "feature"), text(capability, "state"), text(capability, "reason"));
    }
    Ok(())
}

/// The rows of `monitor doctor --programs`.
pub fn programs() -> Result<()> {
    let end = Program::monitor()?.args(["doctor", "--programs", "--json"]).finish(deadline(120.0))?;
    // It fails when a program is refused, and tells all the same.
    let Ok(report) = serde_json::from_str::<Value>(&end.stdout.join("\n")) else {
        row("program", "all", "refused", &format!("{}: {}", end.status, end.stderr.trim()));
        return Ok(());
    };
    for program in report.as_array().context("no programs in the report")? {
        let (name, state, reason) =
            (text(program, "program"), text(program, "state"), text(program, "reason"));
        // What grows beyond the limit is refused from one day to the next.
        let walked = program["verified_instructions"].as_u64().unwrap_or_default();
        let state = if walked > NEARLY_TOO_MUCH { "nearly too much" } else { state };
        row("program", name, state, reason.lines().next().unwrap_or_default());
        match state {
            "loaded" | "nearly too much" => println!(
                "{name}: {:.0} ms, {} verified",
                program["load_ms"], program["verified_instructions"]
            ),
            _ => println!("{name}: {reason}"),
        }
    }
    Ok(())
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}
