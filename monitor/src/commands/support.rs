//! `monitor support`: one archive for a bug report.

mod gather;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};

use crate::{
    config::{self, Config},
    host::whole,
    pipeline::redact::Redactor,
};

/// Arguments of `monitor support`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the archive goes.
    #[arg(long, value_name = "FILE", default_value = "monitor-support.tar.gz")]
    pub out: PathBuf,
    /// Configuration file that the agent uses, if not the default one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Writes the archive: only its owner may read it.
///
/// # Errors
/// When the archive can't be written. What can't be gathered is said in it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let loaded = Config::read(args.config.as_deref()).ok().map(|(config, _)| config);
    // What the policy adds is looked for as well; what is known is, even if the policy shows it in findings.
    let redact = match loaded.as_ref().map(|config| &config.agent.redact) {
        Some(config::Redact::Patterns(patterns)) => config::Redact::Patterns(patterns.clone()),
        _ => config::Redact::Patterns(Vec::new()),
    };
    let redactor = Redactor::new(&redact)?;
    let files = gather::everything(args.config.as_deref(), loaded.as_ref());
    write(&args.out, &files, &redactor).with_context(|| format!("can't write {}", args.out.display()))?;
    println!("{}: {} files; read them before you send it", args.out.display(), files.len());
    for file in files {
        println!("  {}", file.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// A file of the archive.
struct Part {
    name: String,
    text: Vec<u8>,
}

fn write(out: &Path, parts: &[Part], redactor: &Redactor) -> Result<()> {
    whole::write(out, |file| pack(file, parts, redactor))
}

fn pack(file: File, parts: &[Part], redactor: &Redactor) -> Result<File> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for part in parts {
        let text = redactor.lines(&part.text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
        let name = Path::new("monitor-support").join(&part.name);
        archive.append_data(&mut header, &name, &text[..])?;
    }
    Ok(archive.into_inner()?.finish()?)
}
