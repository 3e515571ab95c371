//! The table of metrics for people.

mod uses;

use std::fmt::Write as _;

use monitor_common::{
    count::{Count, Family, Outcome, Unparsed},
    event::Kind,
    limit::Cause,
    policy::{Mode, RuleKind, masks::Direction, verdict},
};

use self::uses::Alerts;
use super::{
    Chapter, Exposition, HttpPath, HttpStatus, Loss, METRICS, Metric,
    read::NO_WORKLOAD,
    series::{MOST, OTHER},
};
use crate::config::Level;

/// The metrics as a Markdown document.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!(
        "# Metrics\n\n\
         <!-- Made by `monitor docs metrics`; the table is monitor/src/metrics/table.rs. -->\n\n\
         `GET /metrics` on `[metrics] listen`. The format is `{}` where the request accepts it, else `{}`; both say \
         the same. Counters start again at 0 when the maps are made anew. For every kind of event:\n\n\
         ```text\nseen = delivered + suppressed + lost + on its way\n```\n",
        Exposition::OpenMetrics.content_type(),
        Exposition::Plain.content_type(),
    );
    out.push_str(
        "\nEach metric has a section below, with what the dashboard (`deploy/grafana`) and the alerts (`deploy/prometheus`) ask of it. A \
         query that no panel has is one to begin with.\n",
    );
    let alerts = Alerts::shipped();
    for chapter in Chapter::ALL {
        let _ = write!(out, "\n## {}\n\n| metric | type | labels |\n|---|---|---|\n", chapter.title());
        let metrics = || METRICS.iter().filter(|metric| metric.chapter == chapter);
        for metric in metrics() {
            let Metric { name, kind, .. } = metric;
            let labels = list(metric.labels.iter().copied());
            let _ = writeln!(out, "| [`{name}`](#{name}) | {} | {labels} |", kind.name());
        }
        metrics().for_each(|metric| section(&mut out, metric, &alerts));
    }
    out.push_str("\n## Labels\n\nValues come from names in the policy and from these sets.\n\n");
    let _ = write!(
        out,
        "A metric shows {MOST} sets of labels at most. What has no room is added up in one series whose labels all say \
         `{OTHER}`, and `monitor_series_folded_total` counts it; a counter that has a series of its own keeps it.\n\n\
         How bad a rule's findings are is said once, by `monitor_rule_info`, to join with:\n\n\
         ```promql\nsum by (severity) (\n  rate(monitor_findings_total[5m])\n  * on (job, instance, rule, kind) group_left \
         (severity) monitor_rule_info\n)\n```\n\n"
    );
    out.push_str("| label | of | values |\n|---|---|---|\n");
    for (label, of, values) in label_values() {
        let _ = writeln!(out, "| `{label}` | {of} | {values} |");
    }
    out
}

/// All about one metric.
fn section(out: &mut String, metric: &Metric, alerts: &Alerts) {
    let _ = write!(out, "\n### {}\n\n{}\n\n", metric.name, metric.help);
    for (title, query) in uses::queries(metric) {
        let title = title.map(|title| format!("Dashboard, \"{title}\":\n\n")).unwrap_or_default();
        let _ = write!(out, "{title}```promql\n{query}\n```\n\n");
    }
    let alerts: Vec<_> = alerts.of(metric).map(|name| format!("[{name}](runbooks/{name}.md)")).collect();
    if !alerts.is_empty() {
        let _ = write!(out, "Alerts: {}\n\n", alerts.join(", "));
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
}

fn reasons(family: Family) -> impl Iterator<Item = &'static str> {
    Count::ALL.iter().filter(move |count| count.family() == family).map(|count| count.reason())
}

fn label_values() -> Vec<(&'static str, &'static str, String)> {
    let verdicts = (verdict::ALLOW..verdict::COUNT as u8).map(verdict::name);
    let lost = list(reasons(Family::Lost));
    vec![
        ("kind", "events", list(Kind::ALL.iter().map(|kind| kind.name()))),
        ("severity", "rules", list(Level::ALL.iter().map(|level| level.name()))),
        ("kind", "findings", list(RuleKind::ALL.iter().map(|kind| kind.name()))),
        ("verdict", "all", list(verdicts)),
        ("mode", "rules and policy", list(Mode::ALL.iter().map(|mode| mode.name()))),
        ("reason", "events suppressed", list(reasons(Family::Suppressed))),
        ("reason", "events lost", format!("{lost}, `recursion`, `unreadable`, `queue_full`")),
        ("reason", "packets unparsed", list(Unparsed::ALL.iter().map(|reason| reason.name()))),
        ("outcome", "packets unparsed", list(Outcome::ALL.iter().map(|outcome| outcome.name()))),
        ("cause", "packets over a limit", list(Cause::ALL.iter().map(|cause| cause.name()))),
        ("reason", "sinks", list(Loss::ALL.iter().map(|reason| reason.name()))),
        ("workload", "databases", format!("the first workload of the process, else `{NO_WORKLOAD}`")),
        ("direction", "databases", directions()),
        (
            "sink",
            "sinks",
            "`stdout`, `file`; further ones of a type `file-2`, `file-3`, in file order".to_owned(),
        ),
        ("hook", "exec hook runs", "`tracepoint`, `lsm`".to_owned()),
        ("path", "enforcement and canaries", "`exec`, `connect`, `packet`".to_owned()),
        ("path", "HTTP requests", list(HttpPath::ALL.iter().map(|path| path.name()))),
        ("status", "HTTP requests", list(HttpStatus::ALL.iter().map(|status| status.name()))),
    ]
}

fn directions() -> String {
    let meaning = |direction| match direction {
        Direction::Client => "a process of this host connects",
        Direction::Server => "a process of this host binds, listens and accepts",
        Direction::Source => "a packet arrives for the server",
    };
    let told = Direction::ALL.map(|direction| format!("`{}`: {}", direction.name(), meaning(direction)));
    told.join("; ")
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
