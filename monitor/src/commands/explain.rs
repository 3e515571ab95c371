//! `monitor explain`: which rule decides on a request, and why earlier ones don't.

mod text;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

pub(super) use text::tell;

use crate::{
    agent::evaluate::Evaluator,
    config::Config,
    host::file::Tree,
    policy::ask::{Asked, Asker, Reply, Request},
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
        echo '{\"connect\": {\"exe\": \"/usr/bin/psql\", \"to\": \"10.0.0.5:5432\"}}' | monitor explain --batch -"
)]
pub struct Args {
    /// What to ask.
    #[command(subcommand)]
    pub request: Option<Request>,
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

/// An answer in a batch.
#[derive(Serialize)]
struct Brief<'a> {
    verdict: &'static str,
    mode: Option<&'static str>,
    rule: Option<&'a str>,
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
    match (&args.request, &args.batch) {
        (Some(_), Some(_)) => {
            bail!("--batch takes its requests from the file; leave out the one on the command line")
        }
        (Some(request), None) => one(request, args, &mut asker)?,
        (None, Some(batch)) => self::batch(batch, args.kernel, &mut asker)?,
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

fn batch(path: &Path, kernel: bool, asker: &mut Asker) -> Result<()> {
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
        let request: Request = serde_json::from_str(&line).with_context(place)?;
        requests.push(asker.ask(&request).with_context(place)?);
    }
    let mut evaluator = if kernel { Some(Evaluator::new(asker)?) } else { None };
    let mut out = Vec::new();
    for asked in &requests {
        let reply = match &mut evaluator {
            Some(evaluator) => evaluator.ask(asker, asked)?,
            None => asker.decide(asked),
        };
        let brief = brief(asker, asked, &reply);
        serde_json::to_writer(&mut out, &brief).context("can't write the answer as JSON")?;
        out.push(b'\n');
    }
    print(&out)
}

fn brief<'a>(asker: &'a Asker, asked: &Asked, reply: &'a Reply) -> Brief<'a> {
    use monitor_common::policy::{Mode, verdict};
    let rule = asker.names().rule(asked.rule_kind(), reply.decision.rule).map(|name| &**name);
    Brief {
        verdict: verdict::name(reply.decision.verdict),
        mode: rule.map(|_| Mode::from_code(reply.decision.mode).name()),
        rule,
        workloads: asker.names().of(&reply.workloads).map(|name| &**name).collect(),
    }
}

fn print(out: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(out) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("can't write to standard output"),
    }
}
