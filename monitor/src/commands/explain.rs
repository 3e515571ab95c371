//! `monitor explain`: which rule decides on a request, and why earlier ones don't.

mod packet;
mod text;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub(super) use text::tell;

use crate::{
    agent::evaluate::Evaluator,
    config::Config,
    host::file::Tree,
    policy::ask::{Asked, Asker, Brief, Request, packet::Packet},
};

/// Arguments of `monitor explain`.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        monitor explain connect --exe /usr/bin/psql --user app --to 10.0.0.5:5432\n  \
        monitor explain exec --by /usr/bin/api-server --file /bin/sh --config new.toml\n  \
        monitor explain bind --exe /usr/bin/nc --to 0.0.0.0:5432 --json\n  \
        monitor explain source --from 10.9.9.9 --to-port 5432\n  \
        monitor explain packet --from 10.9.9.9 --to-port 443 --protocol tcp\n  \
        echo '{\"connect\": {\"exe\": \"/usr/bin/psql\", \"to\": \"10.0.0.5:5432\"}}' | monitor explain --batch -"
)]
pub struct Args {
    /// What to ask.
    #[command(subcommand)]
    pub what: Option<What>,
    /// Answer the requests in a file (- for standard input): one JSON object a line, with the names of the options as keys;
    /// one JSON object a line comes back.
    #[arg(long, value_name = "FILE", required = true)]
    pub batch: Option<PathBuf>,
    /// Configuration file. Without it, what `monitor run` would use.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Ask the kernel programs themselves: the policy is loaded into the kernel, beside one that may be in force, and nothing
    /// is attached. Needs root.
    #[arg(long, global = true)]
    pub kernel: bool,
}

/// What can be asked.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// What a rule decides about.
    #[command(flatten)]
    Request(Box<Request>),
    /// A packet arrives from another host: which rate limits it is charged to, and what is never dropped.
    ///
    /// Bans and penalties are those of the running agent, if there is one.
    #[command(
        after_help = "Example:\n  monitor explain packet --from 10.9.9.9 --to-port 443 --protocol tcp --bytes 1500"
    )]
    Packet(Box<packet::Args>),
}

/// A request in a batch.
enum Line {
    Packet(Packet),
    Other(Box<Asked>),
}

/// An answer in a batch.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    decision: Brief,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_lsm: Option<Brief>,
    workloads: Vec<&'a str>,
}

/// Explains; the exit code says nothing of the verdict.
///
/// # Errors
/// If the configuration is wrong, or the request can't be understood.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (config, warnings) = Config::read(args.config.as_deref())?;
    for warning in &warnings {
        tracing::warn!("{}: {}", warning.place(), warning.message());
    }
    let tree = Tree::open().ok();
    let mut asker = Asker::new(&config, tree.as_ref())?;
    match (&args.what, &args.batch) {
        (Some(_), Some(_)) => {
            bail!("--batch takes its requests from the file; leave out the one on the command line")
        }
        (Some(What::Request(request)), None) => one(request, args, &mut asker)?,
        (Some(What::Packet(packet)), None) => {
            print(packet::one(packet, args.json, args.kernel, &config, &asker)?.as_bytes())?;
        }
        (None, Some(batch)) => self::batch(batch, args.kernel, &config, &mut asker)?,
        (None, None) => {
            bail!("say what to ask, for example `monitor explain connect`; --help lists what there is")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one(request: &Request, args: &Args, asker: &mut Asker) -> Result<()> {
    let asked = asker.ask(request)?;
    let reply = match args.kernel {
        true => Some(Evaluator::new(asker)?.ask(asker, &asked)?),
        false => None,
    };
    let story = asker.explain(&asked, reply);
    let mut out = match args.json {
        true => serde_json::to_string_pretty(&story).context("can't write the answer as JSON")? + "\n",
        false => tell(&story),
    };
    if let Some(reply) = reply
        && reply != asker.decide(&asked)
    {
        out.push_str("\nThe kernel decides otherwise than user space: that is a mistake in monitor, please report it.\n");
    }
    print(out.as_bytes())
}

fn batch(path: &Path, kernel: bool, config: &Config, asker: &mut Asker) -> Result<()> {
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).with_context(|| format!("can't open {}", path.display()))?))
    };
    let mut requests = Vec::new();
    for (number, line) in input.lines().enumerate() {
        let place = || format!("line {} of {}", number + 1, path.display());
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        requests.push(read(&line, asker).with_context(place)?);
    }
    let is_packet = |line: &Line| matches!(line, Line::Packet(_));
    let (some_packet, some_other) =
        (requests.iter().any(is_packet), requests.iter().any(|line| !is_packet(line)));
    let mut evaluator = if kernel && some_other { Some(Evaluator::new(asker)?) } else { None };
    // After the other: it leaves the network namespace.
    let mut packets = packet::Batch::new(config, kernel && some_packet)?;
    let mut out = Vec::new();
    for line in &requests {
        let asked = match line {
            Line::Packet(packet) => {
                let answer = packets.answer(packet, config, asker)?;
                serde_json::to_writer(&mut out, &answer).context("can't write the answer as JSON")?;
                out.push(b'\n');
                continue;
            }
            Line::Other(asked) => asked,
        };
        let reply = match &mut evaluator {
            Some(evaluator) => evaluator.ask(asker, asked)?,
            None => asker.decide(asked),
        };
        let answer = Answer {
            decision: asker.brief(asked, &reply.decision),
            without_lsm: reply.without_lsm.map(|decision| asker.brief(asked, &decision)),
            workloads: asker.names().of(&reply.workloads).map(|name| &**name).collect(),
        };
        serde_json::to_writer(&mut out, &answer).context("can't write the answer as JSON")?;
        out.push(b'\n');
    }
    print(&out)
}

/// A request from its line.
fn read(line: &str, asker: &mut Asker) -> Result<Line> {
    #[derive(Deserialize)]
    struct OfPacket {
        packet: Packet,
    }
    let value: serde_json::Value = serde_json::from_str(line)?;
    if value.get("packet").is_some() {
        let OfPacket { packet } = serde_json::from_value(value)?;
        return Ok(Line::Packet(packet));
    }
    let request: Request = serde_json::from_value(value)?;
    Ok(Line::Other(Box::new(asker.ask(&request)?)))
}

fn print(out: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(out) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("can't write to standard output"),
    }
}
