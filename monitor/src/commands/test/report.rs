//! What became of the cases, for people and for what runs tests.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Outcome;
use crate::{commands::explain::tell, event::Text};

/// How to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line for each case, the explanation of those that fail, and last how many there were.
    #[default]
    Text,
    /// The Test Anything Protocol, version 14.
    Tap,
    /// JUnit's XML.
    Junit,
}

impl Format {
    /// The whole report.
    pub(super) fn report(self, outcomes: &[Outcome]) -> Result<String> {
        match self {
            Self::Text => Ok(text(outcomes)),
            Self::Tap => Ok(tap(outcomes)),
            Self::Junit => junit(outcomes),
        }
    }
}

/// Why a case failed and how the verdict came about; nothing if it passed.
fn details(outcome: &Outcome) -> Option<String> {
    let failure = outcome.failure.as_ref()?;
    let mut details = format!("{}: {failure}\n", outcome.case.place);
    if let Ok(story) = &outcome.story {
        details.push_str(&tell(story));
    }
    Some(details)
}

fn text(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        let word = if outcome.failure.is_some() { "FAILED" } else { "ok" };
        let _ = writeln!(out, "{word:<6} {}", Text::from(&outcome.case.name[..]));
        for line in details(outcome).iter().flat_map(|details| details.lines()) {
            let _ = writeln!(out, "{}", format!("       {line}").trim_end());
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let _ = writeln!(out, "{} passed, {failed} failed", outcomes.len() - failed);
    out
}

fn tap(outcomes: &[Outcome]) -> String {
    let mut out = format!("TAP version 14\n1..{}\n", outcomes.len());
    for (index, outcome) in outcomes.iter().enumerate() {
        let word = if outcome.failure.is_some() { "not ok" } else { "ok" };
        // A number sign would begin a directive; `Text` has doubled the backslashes already.
        let name = Text::from(&outcome.case.name[..]).to_string().replace('#', "\\#");
        let _ = writeln!(out, "{word} {} - {name}", index + 1);
        for line in details(outcome).iter().flat_map(|details| details.lines()) {
            let _ = writeln!(out, "{}", format!("# {line}").trim_end());
        }
    }
    out
}

fn junit(outcomes: &[Outcome]) -> Result<String> {
    let mut suite = TestSuite::new("policy");
    for outcome in outcomes {
        let status = match (&outcome.failure, details(outcome)) {
            (Some(failure), Some(details)) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(failure.clone()).set_description(details);
                status
            }
            _ => TestCaseStatus::success(),
        };
        let name = Text::from(&outcome.case.name[..]).to_string();
        let mut case = TestCase::new(name, status);
        case.set_classname(outcome.case.place.clone());
        suite.add_test_case(case);
    }
    let mut report = Report::new("monitor test");
    report.add_test_suite(suite);
    report.to_string().context("can't write the report as XML")
}
