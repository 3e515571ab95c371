//! The Grafana dashboard, made from the table.

use serde_json::{Value, json};

use super::METRICS;

/// One panel.
struct Panel {
    /// Its title.
    title: &'static str,
    /// The metric that explains it.
    metric: &'static str,
    /// What it asks Prometheus. `$instance` and `$job` stand for what is chosen.
    query: &'static str,
    /// What a line is called.
    legend: &'static str,
    /// Unit of Grafana.
    unit: &'static str,
}

const fn panel(
    title: &'static str,
    metric: &'static str,
    query: &'static str,
    legend: &'static str,
    unit: &'static str,
) -> Panel {
    Panel { title, metric, query, legend, unit }
}

/// Rows of panels, from top to bottom.
const ROWS: [(&str, &[Panel]); 5] = [
    (
        "Overview",
        &[
            panel(
                "Findings by severity",
                "monitor_rule_info",
                "sum by (severity) (rate(monitor_findings_total{job=~\"$job\",instance=~\"$instance\"}[5m]) * on (job, instance, rule, kind) group_left (severity) monitor_rule_info)",
                "{{severity}}",
                "ops",
            ),
            panel(
                "Findings by rule",
                "monitor_findings_total",
                "topk(10, sum by (rule, verdict, mode) (rate(monitor_findings_total{job=~\"$job\",instance=~\"$instance\"}[5m])))",
                "{{rule}}: {{verdict}} ({{mode}})",
                "ops",
            ),
            panel(
                "Enforcement is proven",
                "monitor_enforcement_live",
                "min by (path) (monitor_enforcement_live{job=~\"$job\",instance=~\"$instance\"})",
                "{{path}}",
                "bool_yes_no",
            ),
            panel(
                "Policies in force",
                "monitor_policy_info",
                "count by (mode, sha256) (monitor_policy_info{job=~\"$job\",instance=~\"$instance\"})",
                "{{mode}} {{sha256}}",
                "short",
            ),
        ],
    ),
    (
        "Databases",
        &[
            panel(
                "Connections by workload",
                "monitor_database_connections_total",
                "sum by (database, workload, verdict, mode) (rate(monitor_database_connections_total{job=~\"$job\",instance=~\"$instance\",direction=\"client\"}[5m]))",
                "{{workload}} to {{database}}: {{verdict}} ({{mode}})",
                "ops",
            ),
            panel(
                "Open connections",
                "monitor_database_open_connections",
                "sum by (database, direction, workload) (monitor_database_open_connections{job=~\"$job\",instance=~\"$instance\"})",
                "{{database}} {{direction}} {{workload}}",
                "short",
            ),
            panel(
                "Traffic",
                "monitor_database_received_bytes_total",
                "sum by (database, workload) (rate(monitor_database_received_bytes_total{job=~\"$job\",instance=~\"$instance\"}[5m]) + rate(monitor_database_sent_bytes_total{job=~\"$job\",instance=~\"$instance\"}[5m]))",
                "{{database}} {{workload}}",
                "Bps",
            ),
            panel(
                "Lifetime of connections, 95 %",
                "monitor_database_connection_duration_seconds",
                "histogram_quantile(0.95, sum by (database, le) (rate(monitor_database_connection_duration_seconds_bucket{job=~\"$job\",instance=~\"$instance\"}[5m])))",
                "{{database}}",
                "s",
            ),
        ],
    ),
    (
        "Exec",
        &[
            panel(
                "Programs started",
                "monitor_events_seen_total",
                "sum by (instance) (rate(monitor_events_seen_total{job=~\"$job\",instance=~\"$instance\",kind=\"exec\"}[5m]))",
                "{{instance}}",
                "ops",
            ),
            panel(
                "Refused, killed, reported",
                "monitor_findings_total",
                "sum by (rule, verdict, mode) (rate(monitor_findings_total{job=~\"$job\",instance=~\"$instance\",kind=\"exec\"}[5m]))",
                "{{rule}}: {{verdict}} ({{mode}})",
                "ops",
            ),
            panel(
                "Processes that are not known",
                "monitor_processes_unknown",
                "sum by (instance) (monitor_processes_unknown{job=~\"$job\",instance=~\"$instance\"})",
                "{{instance}}",
                "short",
            ),
            panel(
                "Files with another content",
                "monitor_files_unverified",
                "sum by (instance) (monitor_files_unverified{job=~\"$job\",instance=~\"$instance\"})",
                "{{instance}}",
                "short",
            ),
        ],
    ),
    (
        "Rate limits",
        &[
            panel(
                "Packets by verdict",
                "monitor_packets_total",
                "sum by (rule, verdict, mode) (rate(monitor_packets_total{job=~\"$job\",instance=~\"$instance\"}[5m]))",
                "{{rule}}: {{verdict}} ({{mode}})",
                "pps",
            ),
            panel(
                "What was too much",
                "monitor_packets_over_total",
                "sum by (rule, cause) (rate(monitor_packets_over_total{job=~\"$job\",instance=~\"$instance\"}[5m]))",
                "{{rule}}: {{cause}}",
                "pps",
            ),
            panel(
                "Sources tracked",
                "monitor_sources_tracked",
                "sum by (rule) (monitor_sources_tracked{job=~\"$job\",instance=~\"$instance\"})",
                "{{rule}}",
                "short",
            ),
            panel(
                "Penalties",
                "monitor_penalties_active",
                "sum by (rule) (monitor_penalties_active{job=~\"$job\",instance=~\"$instance\"})",
                "{{rule}}",
                "short",
            ),
        ],
    ),
    (
        "Agent health",
        &[
            panel(
                "Events lost",
                "monitor_events_lost_total",
                "sum by (kind, reason) (rate(monitor_events_lost_total{job=~\"$job\",instance=~\"$instance\"}[5m]))",
                "{{kind}}: {{reason}}",
                "ops",
            ),
            panel(
                "From the hook to the sink, 99 %",
                "monitor_sink_latency_seconds",
                "histogram_quantile(0.99, sum by (sink, le) (rate(monitor_sink_latency_seconds_bucket{job=~\"$job\",instance=~\"$instance\"}[5m])))",
                "{{sink}}",
                "s",
            ),
            panel(
                "Lost by sinks",
                "monitor_sink_lost_total",
                "sum by (sink, reason) (rate(monitor_sink_lost_total{job=~\"$job\",instance=~\"$instance\"}[5m]))",
                "{{sink}}: {{reason}}",
                "ops",
            ),
            panel(
                "Queues of sinks, part that is full",
                "monitor_sink_queue_entries",
                "max by (sink) (monitor_sink_queue_entries{job=~\"$job\",instance=~\"$instance\"} / monitor_sink_queue_capacity)",
                "{{sink}}",
                "percentunit",
            ),
            panel(
                "Maps, part that is full",
                "monitor_map_entries",
                "max by (map) (monitor_map_entries{job=~\"$job\",instance=~\"$instance\"} / (monitor_map_capacity > 0))",
                "{{map}}",
                "percentunit",
            ),
            panel(
                "Time in kernel programs",
                "monitor_program_run_seconds_total",
                "sum by (program) (rate(monitor_program_run_seconds_total{job=~\"$job\",instance=~\"$instance\"}[5m]))",
                "{{program}}",
                "percentunit",
            ),
            panel(
                "Memory",
                "process_resident_memory_bytes",
                "process_resident_memory_bytes{job=~\"$job\",instance=~\"$instance\"} and on (job, instance) monitor_build_info",
                "{{instance}}",
                "bytes",
            ),
            panel(
                "CPU",
                "process_cpu_seconds_total",
                "rate(process_cpu_seconds_total{job=~\"$job\",instance=~\"$instance\"}[5m]) and on (job, instance) monitor_build_info",
                "{{instance}}",
                "percentunit",
            ),
        ],
    ),
];

/// The dashboard as Grafana imports it.
#[must_use]
pub fn dashboard() -> String {
    let (mut panels, mut y) = (Vec::new(), 0);
    for (title, row) in &ROWS {
        panels.push(json!({"type": "row", "title": title, "collapsed": false, "panels": [],
            "id": panels.len() + 1, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}));
        y += 1;
        for (index, panel) in row.iter().enumerate() {
            let (x, below) = (index % 4 * 6, index / 4 * 7);
            panels.push(shown(panel, panels.len() + 1, x, y + below));
        }
        y += row.len().div_ceil(4) * 7;
    }
    let dashboard = json!({
        "uid": "monitor-hosts", "title": "monitor", "schemaVersion": 37, "version": 1, "editable": true,
        "description": "Made by `monitor docs dashboard`; the panels are in monitor/src/metrics/dashboard.rs.",
        "tags": ["monitor", "security"], "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
            variable("job", "label_values(monitor_build_info, job)"),
            variable("instance", "label_values(monitor_build_info{job=~\"$job\"}, instance)"),
        ]},
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

/// Titles and queries of all panels.
pub(super) fn panels() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.iter().flat_map(|(_, row)| *row).map(|panel| (panel.title, panel.query))
}

fn variable(name: &str, query: &str) -> Value {
    json!({"name": name, "type": "query", "query": query, "multi": true, "includeAll": true, "refresh": 2,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "datasource": source()})
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn shown(panel: &Panel, id: usize, x: usize, y: usize) -> Value {
    let help = METRICS.iter().find(|metric| metric.name == panel.metric).map_or("", |metric| metric.help);
    json!({"id": id, "type": "timeseries", "title": panel.title, "description": help, "datasource": source(),
        "gridPos": {"x": x, "y": y, "w": 6, "h": 7},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": panel.query, "legendFormat": panel.legend, "datasource": source()}]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metric, Type};

    /// The names under which a metric is exposed.
    fn exposed(metric: &Metric) -> Vec<String> {
        match metric.kind {
            Type::Histogram => {
                ["_bucket", "_count", "_sum"].map(|part| format!("{}{part}", metric.name)).into()
            }
            _ => vec![metric.name.to_owned()],
        }
    }

    /// Names of metrics in an expression: what begins as ours do.
    fn names(query: &str) -> impl Iterator<Item = &str> {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("monitor_") || word.starts_with("process_"))
    }

    #[test]
    fn panels_ask_only_for_what_there_is() {
        let all: Vec<String> = METRICS.iter().flat_map(exposed).collect();
        for panel in ROWS.iter().flat_map(|(_, row)| *row) {
            assert!(METRICS.iter().any(|metric| metric.name == panel.metric), "{}", panel.title);
            assert!(names(panel.query).count() > 0, "{}", panel.title);
            for name in names(panel.query) {
                assert!(all.iter().any(|known| known == name), "{}: {name}", panel.title);
            }
        }
    }

    #[test]
    fn labels_in_legends_are_those_of_the_query() {
        for panel in ROWS.iter().flat_map(|(_, row)| *row) {
            for label in panel.legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")) {
                let of_metric = METRICS.iter().any(|it| {
                    names(panel.query).any(|name| name.starts_with(it.name)) && it.labels.contains(&label.0)
                });
                assert!(of_metric || label.0 == "instance", "{}: {}", panel.title, label.0);
            }
        }
    }

    #[test]
    fn alert_rules_ask_only_for_what_there_is() {
        let all: Vec<String> = METRICS.iter().flat_map(exposed).collect();
        let rules = include_str!("../../../deploy/prometheus/monitor.rules.yml");
        let mut found = 0;
        for name in names(rules).filter(|name| name.starts_with("monitor_")) {
            assert!(all.iter().any(|known| known == name), "{name}");
            found += 1;
        }
        assert!(found > 10);
    }

    #[test]
    fn no_panel_lies_on_another() {
        let dashboard: Value = serde_json::from_str(&dashboard()).unwrap();
        let mut taken = std::collections::BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let number = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(x < 24 && taken.insert((x, y)), "{panel}");
                }
            }
        }
    }
}
