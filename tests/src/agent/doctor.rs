//! What the agent says of this kernel.

use anyhow::{Context, Result, bail};

use crate::{program::Program, wait::deadline};

/// Whether this kernel runs BPF LSM programs, as the agent found out by trying: execs and unix sockets are then refused before
/// anything happens. Loads a kernel program for a moment: the caller has the [`turn`](super::turn).
///
/// # Errors
/// When `monitor doctor` fails or says something else.
pub fn security_hooks() -> Result<bool> {
    let report = Program::monitor()?.args(["doctor", "--json"]).json(deadline(60.0))?;
    let capabilities = report["capabilities"].as_array().context("no capabilities in the report")?;
    let found = capabilities.iter().find(|capability| capability["feature"] == "exec_deny");
    let state = &found.with_context(|| format!("no exec_deny in {report}"))?["state"];
    match state.as_str() {
        Some("enforced") => Ok(true),
        Some("fallback") => Ok(false),
        other => bail!("exec_deny is {other:?}"),
    }
}
