//! `cargo xtask bench`: what the agent costs those who execute programs, open connections and send packets.

mod findings;
mod packets;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    build::{self, Profile},
    context::Context,
    setup::{self, Purpose},
    shell::{Cmd, note, step},
};

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Starting a program and opening a connection, under a policy of 100 workloads and 100 rules
    ///
    /// Blocks of operations beside nothing, the agent, the agent with every event in its sink, the agent stopped by a
    /// signal (its kernel programs alone) and the distribution's exec tracer, each between two blocks without it. A ratio is
    /// a block divided by the mean of its two neighbours; the table has the quartiles over the rounds. The row "nothing" tells
    /// how far ratios lie from 1 by chance.
    Verdicts(Options),
    /// A packet where it is limited, beside doing nothing and beside other limiters
    ///
    /// Frames are made by the kernel's test runs and sent to one end of a virtual link; what is measured works at the other end, and
    /// its time is that of a frame from being made to being dropped. A ratio is a block of frames divided by the mean of two blocks
    /// of the floor right before and after. Then floods from both CPUs are counted, and an honest TCP client is timed.
    Packets(Options),
    /// 20,000 findings a second into a file
    ///
    /// A client in a network namespace and a cgroup of its own asks for connections that are refused, at a rate; each is a finding,
    /// and none is folded. Meanwhile the agent is scraped twice a second. Tells how many lines arrived, what was lost where, and
    /// what it took.
    Findings {
        /// Keep the report as JSON in this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// How long
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
        seconds: u32,
        /// How many a second
        #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        rate: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Keep the report as JSON in this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often everything is compared; a round takes about 15 seconds (verdicts) or 4 (packets)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Four rounds, and short floods: for a first look
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
}

impl Options {
    fn rounds(&self) -> String {
        (if self.quick { QUICK } else { self.rounds }).to_string()
    }
}

/// Rounds of a quick look: with fewer, quartiles mean nothing.
const QUICK: u32 = 4;
/// Seconds of a flood that is counted.
const FLOOD: &str = "30";
const QUICK_FLOOD: &str = "3";

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    if !context.is_root() {
        bail!("benchmarks load kernel programs, which needs root: run\n  {}", context.how_to_be_root());
    }
    let (json, report, text) = match &args.what {
        What::Verdicts(options) => {
            let report = measure(context, &["verdicts", &options.rounds()])?;
            let text = report::verdicts(&report)?;
            (&options.json, report, text)
        }
        What::Packets(options) => {
            let flood = if options.quick { QUICK_FLOOD } else { FLOOD };
            let report = measure(context, &["packets", &options.rounds(), flood])?;
            let text = packets::report(&report)?;
            (&options.json, report, text)
        }
        What::Findings { json, seconds, rate } => {
            let report = measure(context, &["findings", &seconds.to_string(), &rate.to_string()])?;
            let text = findings::report(&report)?;
            (json, report, text)
        }
    };
    if let Some(path) = json {
        keep(path, &report)?;
    }
    anstream::print!("{text}");
    Ok(())
}

/// Measures packets quickly, and keeps the report where CI finds it.
pub fn keep_a_quick_one(context: &Context) -> Result<()> {
    let report = measure(context, &["packets", &QUICK.to_string(), QUICK_FLOOD])?;
    let directory = context.target("bench");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    keep(&directory.join("packets.json"), &report)?;
    anstream::print!("{}", packets::report(&report)?);
    Ok(())
}

/// Builds the agent and the benchmark and runs it; its report.
fn measure(context: &Context, arguments: &[&str]) -> Result<Value> {
    setup::ensure(context, Purpose::Test)?;
    // Without what it is compared with the benchmark does the rest, and says so.
    if let Err(error) = setup::ensure(context, Purpose::Bench) {
        note(&format!("nothing to compare the agent with: {error:#}"));
    }
    let agent = build::agent(context, Profile::Release)?;
    let probes = build::probes(context)?;
    let cargo = Cmd::cargo(context)?.args(["build", "--package", "tests", "--features", "scenarios"]);
    cargo.args(["--bin", "bench", "--release"]).run()?;
    step(&format!("bench {}", arguments.join(" ")));
    let bench = Cmd::new(context, context.target("release/bench")).args(arguments);
    let bench = bench.env("MONITOR_BIN", agent).env("MONITOR_PROBE_DIR", probes);
    // It says on standard error how far it is, and something only on failure otherwise.
    let output = bench.into_inner().stderr(Stdio::inherit()).output().context("starting the benchmark")?;
    if !output.status.success() {
        bail!("the benchmark failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading the benchmark's report")
}

fn keep(path: &Path, report: &Value) -> Result<()> {
    fs::write(path, format!("{report:#}\n")).with_context(|| format!("writing {}", path.display()))?;
    step(&format!("kept the report in {}", path.display()));
    Ok(())
}
