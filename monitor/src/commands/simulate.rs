//! `monitor simulate`: what the rate limits of a policy would do with captured packets.

mod capture;
mod clock;
mod drive;
mod link;
mod report;
mod sources;
mod tally;
mod text;
mod timeline;
mod wire;

use std::{
    fs::File,
    io::{self, Read, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::{capture::End, drive::Drive};
use crate::{
    agent::simulate::Simulator,
    config::{Config, RateLimit},
};

/// Arguments of `monitor simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tcpdump -i eth0 -s 96 -w attack.pcap\n  \
    monitor simulate --policy new.toml --pcap attack.pcap --to 192.0.2.10\n  \
    monitor simulate --policy new.toml --pcap attack.pcapng --json | jq '.rules[] | {rule, dropped}'")]
pub struct Args {
    /// The configuration file; the files of a `policy.d` beside it are read too.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// The capture, pcap or pcapng (- for standard input).
    #[arg(long, value_name = "FILE")]
    pub pcap: PathBuf,
    /// How fast.
    #[arg(long, value_enum, value_name = "SPEED", default_value_t)]
    pub speed: Speed,
    /// The interface that packets are taken to arrive on, for rules with `interfaces`. Without it, what a pcapng capture says;
    /// else those rules don't hold.
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Only packets to this address or network, such as the host's own: a capture may hold what the host sent, too. May be
    /// given several times.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    pub to: Vec<(IpAddr, u8)>,
    /// Bytes of the longest IP packet on the link: longer TCP packets were merged before they were captured, and are
    /// taken apart.
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(576..=65_535))]
    pub mtu: u32,
    /// How many sources to name.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How fast a capture is gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Speed {
    /// As fast as it goes: packets are judged at the times that the capture says.
    #[default]
    Max,
    /// As fast as it was: packets are judged at the kernel's own time.
    Real,
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    match crate::config::network(text) {
        Ok((network, _)) => Ok(network),
        Err((message, help)) => Err(format!("{message}; {help}")),
    }
}

/// Simulates. The exit code is 1 if the capture is damaged.
///
/// # Errors
/// If the policy is wrong or has no rate limit, the capture can't be read, or the kernel can't run the program.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (config, warnings) = Config::read(Some(&args.policy))?;
    for warning in &warnings {
        tracing::warn!("{}: {}", warning.place(), warning.message());
    }
    if config.rate_limits.is_empty() {
        bail!("{} has no [[rate_limit]]: nothing to simulate", args.policy.display());
    }
    let asks = |rule: &&RateLimit| !rule.interfaces.is_empty();
    if let (None, Some(rule)) = (&args.interface, config.rate_limits.iter().find(asks)) {
        tracing::warn!(
            "rule {:?} holds only on some interfaces: say with --interface where the packets arrive, unless the capture says it",
            rule.name
        );
    }
    let name = args.pcap.display().to_string();
    let (source, length) = open(&args.pcap).with_context(|| format!("can't open {name}"))?;
    let simulator = Simulator::new(&config, args.speed == Speed::Real)?;
    let progress = progress(length);
    let mut drive = Drive::new(args, simulator);
    let end = capture::read(progress.wrap_read(source), |record| drive.take(&record));
    progress.finish_and_clear();
    let end = end.with_context(|| format!("capture {name}"))?;
    let report = drive.report(name, end)?;
    let out = match args.json {
        true => serde_json::to_string_pretty(&report).context("can't write the report as JSON")? + "\n",
        false => report.tell(),
    };
    match io::stdout().lock().write_all(out.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write to standard output")?,
    }
    Ok(if end == End::Damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The capture, and how long it is if that is known.
fn open(path: &Path) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), length))
}

/// Shown on a terminal only.
fn progress(length: Option<u64>) -> ProgressBar {
    const TIMES_A_SECOND: u8 = 5;
    let target = ProgressDrawTarget::stderr_with_hz(TIMES_A_SECOND);
    let progress = ProgressBar::with_draw_target(length, target);
    let template = "{elapsed_precise} {bar:40} {decimal_bytes} of {decimal_total_bytes}, {eta} to go";
    match ProgressStyle::with_template(template) {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}
