//! Requests about how the agent is.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::line::Out;
use crate::{
    event::Event,
    overview::{Parts, picture},
    recent::Recent,
    render,
};

/// The most findings that are told with it.
pub const FINDINGS: usize = 200;

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// So many of the last findings as well, [`FINDINGS`] at most.
    pub findings: usize,
}

/// A finding. Everything in it can be shown as it is: one line, nothing that a terminal obeys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// When, RFC 3339.
    pub time: String,
    /// Kind of event.
    pub kind: String,
    /// Name of the rule.
    pub rule: String,
    /// What was decided.
    pub verdict: String,
    /// Whether it was carried out.
    pub mode: String,
    /// A sentence for people.
    pub why: String,
    /// Who did what.
    pub what: String,
    /// All of it, as the sinks write it.
    pub record: serde_json::Value,
}

impl Finding {
    /// None of an event that is no finding.
    pub(crate) fn new(event: &Event) -> Option<Self> {
        let finding = event.finding.as_ref()?;
        let mut record = Vec::new();
        render::json::line(event, &mut record);
        Some(Self {
            time: format!("{:.3}", event.time),
            kind: event.kind.name().to_owned(),
            rule: render::sentence(&finding.rule).into_owned(),
            verdict: monitor_common::policy::verdict::name(finding.verdict).to_owned(),
            mode: finding.mode.name().to_owned(),
            why: render::sentence(&finding.why).into_owned(),
            what: render::text::what(event),
            record: serde_json::from_slice(&record).unwrap_or_default(),
        })
    }

    /// The last so many, the newest first.
    pub(crate) fn last(recent: &Recent, most: usize) -> Vec<Self> {
        let events = recent.findings.last(most.min(FINDINGS));
        events.iter().rev().filter_map(|event| Self::new(event)).collect()
    }
}

pub(super) fn status(parts: Option<&Parts>, status: &Status, out: &mut Out) -> Result<()> {
    let parts = parts.context("the agent is still starting")?;
    for finding in Finding::last(&parts.recent, status.findings) {
        out.item(&finding)?;
    }
    out.done(picture(parts))
}
