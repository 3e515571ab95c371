//! The tables that people read.

use std::fmt::Write;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::table::{Align, Table};

/// What `bench verdicts` prints. Times are nanoseconds of one operation.
#[derive(Debug, Deserialize)]
struct Report {
    rounds: u32,
    host: Host,
    policy: Policy,
    tracer: String,
    results: Vec<Row>,
    costs: Vec<Cost>,
}

/// The machine, and what else it did.
#[derive(Debug, Deserialize)]
pub(super) struct Host {
    kernel: String,
    cpus: u32,
    load_average: f64,
    programs_of_others: u32,
    cpu_share_of_others: f64,
    cpu_share_stolen: f64,
}

#[derive(Debug, Deserialize)]
struct Policy {
    workloads: u32,
    exec_rules: u32,
    database_rules: u32,
}

#[derive(Debug, Deserialize)]
struct Row {
    operation: String,
    beside: String,
    goal: Option<f64>,
    ratio: Quartiles,
    ratio_of_means: Quartiles,
    without_ns: Quartiles,
    added_ns: Quartiles,
}

/// Of what the rounds say.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Quartiles {
    pub(super) q1: f64,
    pub(super) median: f64,
    pub(super) q3: f64,
}

impl Host {
    /// In one or two sentences.
    pub(super) fn sentence(&self) -> String {
        format!(
            "Linux {}, {} CPUs, load average {:.1} at the end. While nothing ran beside, others used {:.0} % of the CPUs, {:.0} % \
             were stolen, and up to {} kernel programs of others were loaded.",
            self.kernel,
            self.cpus,
            self.load_average,
            100.0 * self.cpu_share_of_others,
            100.0 * self.cpu_share_stolen,
            self.programs_of_others,
        )
    }
}

#[derive(Debug, Deserialize)]
struct Cost {
    operation: String,
    beside: String,
    program_ns: f64,
    programs: Vec<Program>,
    process_cpu_ns: f64,
    process_wakeups: f64,
}

#[derive(Debug, Deserialize)]
struct Program {
    name: Option<String>,
    runs: f64,
    ns: f64,
}

/// The report of `bench verdicts` as text.
pub fn verdicts(report: &Value) -> Result<String> {
    let report = Report::deserialize(report).context("reading the benchmark's report")?;
    let mut text = String::new();
    let Report { host, policy, rounds, .. } = &report;
    writeln!(
        text,
        "\n{}\nPolicy: {} workloads, {} exec and {} database rules. {rounds} rounds. Tracer: {}.\n\n{}",
        host.sentence(),
        policy.workloads,
        policy.exec_rules,
        policy.database_rules,
        report.tracer,
        ratios(&report.results),
    )?;
    writeln!(
        text,
        "The ratio is of medians, which leave out what happens to few operations; in the ratio of means it is, and so is \
         the noise.\n\n{}",
        costs(&report.costs)
    )?;
    writeln!(
        text,
        "Where the time goes, in us of one operation: what the kernel programs run, which includes waking the process; CPU \
         time of the process; how often it was woken. Measured apart, with the kernel's clocks on (about 0.04 us a run)."
    )?;
    Ok(text)
}

fn ratios(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("operation", Align::Left),
        ("beside", Align::Left),
        ("without us", Align::Right),
        ("added us", Align::Right),
        ("ratio", Align::Right),
        ("quartiles", Align::Left),
        ("of means", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
    ]);
    let mut last = "";
    for row in rows {
        let Quartiles { q1, median, q3 } = row.ratio;
        // A row of its own before each operation but the first.
        if !last.is_empty() && last != row.operation {
            table.row([""]);
        }
        let operation = if last == row.operation { "" } else { &row.operation };
        last = &row.operation;
        table.row([
            operation.to_owned(),
            row.beside.clone(),
            us(row.without_ns.median),
            us(row.added_ns.median),
            format!("{median:.3}"),
            format!("{q1:.3} to {q3:.3}"),
            format!("{:.3}", row.ratio_of_means.median),
            row.goal.map_or_else(String::new, |goal| format!("{goal:.2}")),
            row.goal.map_or("", |goal| verdict(row.ratio, goal)).to_owned(),
        ]);
    }
    table
}

/// Whether a goal is met; said only if three quarters of the rounds agree.
pub(super) fn verdict(ratio: Quartiles, goal: f64) -> &'static str {
    if ratio.q3 <= goal {
        "met"
    } else if ratio.q1 > goal {
        "missed"
    } else {
        "unclear"
    }
}

fn costs(rows: &[Cost]) -> Table {
    let mut table = Table::new(&[
        ("operation", Align::Left),
        ("beside", Align::Left),
        ("programs", Align::Right),
        ("process", Align::Right),
        ("woken", Align::Right),
        ("each program: runs x us", Align::Left),
    ]);
    for row in rows {
        let each: Vec<String> = row
            .programs
            .iter()
            .map(|program| {
                let name = program.name.as_deref().unwrap_or("?");
                format!("{name} {:.0} x {}", program.runs, us(program.ns))
            })
            .collect();
        table.row([
            row.operation.clone(),
            row.beside.clone(),
            us(row.program_ns),
            us(row.process_cpu_ns),
            format!("{:.2}", row.process_wakeups),
            each.join(", "),
        ]);
    }
    table
}

/// Nanoseconds as microseconds.
fn us(ns: f64) -> String {
    format!("{:.2}", ns / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_only_when_the_rounds_agree() {
        let ratio = |q1, q3| Quartiles { q1, median: (q1 + q3) / 2.0, q3 };
        assert_eq!(verdict(ratio(1.00, 1.01), 1.02), "met");
        assert_eq!(verdict(ratio(1.03, 1.05), 1.02), "missed");
        assert_eq!(verdict(ratio(0.99, 1.03), 1.02), "unclear");
    }
}
