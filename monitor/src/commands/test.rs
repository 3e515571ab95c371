//! `monitor test`: compares a policy with what its author expects of it.

mod cases;
mod report;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use self::{
    cases::{Case, Cases},
    report::Format,
};
use crate::{
    config::Config,
    host::file::Tree,
    policy::ask::{Asker, Story},
};

/// Arguments of `monitor test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A file of cases:\n\n  \
    [[case]]\n  \
    name = \"psql as app reaches orders\"\n  \
    connect = { exe = \"/usr/bin/psql\", user = \"app\", to = \"10.0.0.5:5432\" }\n  \
    expect = \"allow\"\n\n  \
    [[case]]\n  \
    name = \"the api starts no shell\"\n  \
    exec = { by = \"/usr/bin/api-server\", file = \"/bin/sh\" }\n  \
    expect = \"deny\"\n  \
    rule = \"no shells\"\n\n\
    A case asks one of connect, exec, bind, source, unix and raw, with the options of `monitor explain` as keys. `expect` is \
    allow, alert, deny, kill (of a rule with that action, whatever this kernel does for `deny`), drop, or none if no rule \
    decides; `rule` is the rule that must decide, and may be left out.")]
pub struct Args {
    /// The configuration file; the files of a `policy.d` beside it are read too.
    #[arg(value_name = "POLICY")]
    pub policy: PathBuf,
    /// Files of cases.
    #[arg(value_name = "CASES", required = true)]
    pub cases: Vec<PathBuf>,
    /// How to report.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
}

/// A case and what became of it.
struct Outcome {
    case: Case,
    story: Result<Story>,
    /// Why it failed; none if it passed.
    failure: Option<String>,
}

/// Runs all cases. The exit code is 1 if one fails.
///
/// # Errors
/// If the policy or a file of cases is wrong.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (config, warnings) = Config::read(Some(&args.policy))?;
    for warning in &warnings {
        tracing::warn!("{}: {}", warning.place(), warning.message());
    }
    let tree = Tree::open().ok();
    let mut asker = Asker::new(&config, tree.as_ref())?;
    let mut outcomes = Vec::new();
    for path in &args.cases {
        for case in Cases::read(path)?.cases {
            outcomes.push(examine(case, &mut asker));
        }
    }
    let failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
    let report = args.format.report(&outcomes)?;
    match io::stdout().lock().write_all(report.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write to standard output")?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(case: Case, asker: &mut Asker) -> Outcome {
    let story = asker.ask(&case.request).map(|asked| asker.explain(&asked, None));
    let failure = match &story {
        Err(error) => Some(format!("it can't be asked: {error:#}")),
        Ok(story) if story.verdict != case.expect.name() => {
            Some(format!("expected {}, but the verdict is {}", case.expect.name(), story.verdict))
        }
        Ok(story) => case.rule.as_ref().filter(|rule| story.rule.as_ref() != Some(rule)).map(|rule| {
            let wanted = crate::event::Text::from(&rule[..]);
            match &story.rule {
                Some(found) => format!(
                    "expected rule {} to decide, but rule {} does",
                    wanted.quoted(),
                    crate::event::Text::from(&found[..]).quoted()
                ),
                None => format!("expected rule {} to decide, but none does", wanted.quoted()),
            }
        }),
    };
    Outcome { case, story, failure }
}

#[cfg(test)]
mod tests;
