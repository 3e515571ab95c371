//! The report of `bench findings`.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::table::{Align, Table};

/// What `bench findings` prints.
#[derive(Debug, Deserialize)]
struct Report {
    asked_per_second: u32,
    seconds: f64,
    per_second: f64,
    findings: u64,
    lines: u64,
    bytes: u64,
    lost: BTreeMap<String, f64>,
    lost_by_sinks: Vec<Value>,
    drained_after_seconds: f64,
    agent_cpu_seconds: f64,
    agent_cpus: f64,
    memory_before: u64,
    memory_after: u64,
    scrapes: u64,
    scrape_ms: Scrapes,
}

#[derive(Debug, Deserialize)]
struct Scrapes {
    median: Option<f64>,
    p95: Option<f64>,
    longest: Option<f64>,
}

/// Most CPUs that the agent may take.
const CPUS: f64 = 1.0;
/// Most milliseconds that a scrape may take.
const SCRAPE_MS: f64 = 50.0;
/// The rate counts as kept from this share of it on.
const KEPT: f64 = 0.98;

/// The report as text.
pub fn report(report: &Value) -> Result<String> {
    let report = Report::deserialize(report).context("reading the benchmark's report")?;
    let lost: f64 = report.lost.values().sum();
    let by_sinks: f64 = report.lost_by_sinks.iter().filter_map(|lost| lost["count"].as_f64()).sum();
    let verdict = |met: bool| if met { "met" } else { "missed" };
    let mut table = Table::new(&[
        ("what", Align::Left),
        ("measured", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
    ]);
    let asked = f64::from(report.asked_per_second);
    let rows = [
        (
            "findings a second",
            format!("{:.0}", report.per_second),
            format!("{asked:.0}"),
            report.per_second >= KEPT * asked,
        ),
        (
            "lines in the file",
            report.lines.to_string(),
            report.findings.to_string(),
            report.lines == report.findings,
        ),
        ("lost in front of the agent", format!("{lost:.0}"), "0".into(), lost == 0.0),
        ("lost by sinks", format!("{by_sinks:.0}"), "0".into(), by_sinks == 0.0),
        (
            "CPUs of the agent",
            format!("{:.2}", report.agent_cpus),
            format!("{CPUS:.2}"),
            report.agent_cpus < CPUS,
        ),
        (
            "longest scrape, ms",
            format!("{:.1}", report.scrape_ms.longest.unwrap_or_default()),
            format!("{SCRAPE_MS:.0}"),
            report.scrape_ms.longest.is_some_and(|ms| ms <= SCRAPE_MS),
        ),
    ];
    for (what, measured, goal, met) in rows {
        table.row([what.to_owned(), measured, goal, verdict(met).to_owned()]);
    }
    let mut text = String::new();
    writeln!(
        text,
        "\n{} findings in {:.1} s, {} MB of lines; all written {:.2} s after the last.\n\n{table}",
        report.findings,
        report.seconds,
        report.bytes / 1_000_000,
        report.drained_after_seconds,
    )?;
    let ms = |value: Option<f64>| value.unwrap_or_default();
    writeln!(
        text,
        "The agent took {:.1} s of CPU time ({:.1} us a finding), and {:.1} MB of memory before and {:.1} MB after. {} scrapes: \
         median {:.1} ms, p95 {:.1} ms.",
        report.agent_cpu_seconds,
        1e6 * report.agent_cpu_seconds / report.findings as f64,
        report.memory_before as f64 / 1e6,
        report.memory_after as f64 / 1e6,
        report.scrapes,
        ms(report.scrape_ms.median),
        ms(report.scrape_ms.p95),
    )?;
    for (what, count) in report.lost.iter().filter(|(_, count)| **count > 0.0) {
        writeln!(text, "Lost in front of the agent, {what}: {count:.0}.")?;
    }
    for lost in &report.lost_by_sinks {
        writeln!(text, "Lost by a sink: {lost}.")?;
    }
    Ok(text)
}
