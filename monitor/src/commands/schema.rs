//! `monitor schema`: prints the JSON Schema of the configuration file.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::config;

/// Arguments of `monitor schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the schema to standard output.
///
/// # Errors
/// If standard output can't be written to.
pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string_pretty(config::schema()).context("can't write the schema as JSON")?;
    match writeln!(io::stdout().lock(), "{text}") {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write the schema to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}
