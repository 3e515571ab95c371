//! The table of metrics for people.

use std::fmt::Write as _;

use monitor_common::{
    count::{Count, Family, Outcome, Unparsed},
    event::Kind,
    limit::Cause,
    policy::{Mode, RuleKind, masks::Direction, verdict},
};

use super::{
    Chapter, Exposition, HttpPath, HttpStatus, Loss, METRICS,
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
    for chapter in Chapter::ALL {
        let _ = write!(
            out,
            "\n## {}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
            chapter.title()
        );
        for metric in METRICS.iter().filter(|metric| metric.chapter == chapter) {
            let labels = list(metric.labels.iter().copied());
            let _ =
                writeln!(out, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind.name(), metric.help);
        }
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
