//! `monitor schema`: prints the JSON Schema of the configuration file, or of findings.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::{config, render::json};

/// Arguments of `monitor schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what.
    #[arg(value_enum, default_value_t)]
    pub of: Of,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Of {
    /// The configuration file.
    #[default]
    Config,
    /// Findings and events as JSON.
    Findings,
}

/// Prints the schema to standard output.
///
/// # Errors
/// If standard output can't be written to.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let schema = match args.of {
        Of::Config => config::schema(),
        Of::Findings => &json::schema::schema(),
    };
    let text = serde_json::to_string_pretty(schema).context("can't write the schema as JSON")?;
    match writeln!(io::stdout().lock(), "{text}") {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write the schema to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}
