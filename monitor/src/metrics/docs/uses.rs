//! Who asks for a metric: panels of the dashboard, alerts, and, where nobody does, a query to begin with.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::metrics::{Metric, Type, dashboard};

const RULES: &str = include_str!("../../../../deploy/prometheus/monitor.rules.yml");

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
}

/// Alerts and what they ask, by name.
pub(super) struct Alerts(BTreeMap<String, String>);

impl Alerts {
    /// Those that are shipped.
    pub(super) fn shipped() -> Self {
        // A test holds that it can be read.
        let groups = serde_saphyr::from_str::<Rules>(RULES).map(|rules| rules.groups).unwrap_or_default();
        Self(groups.into_iter().flat_map(|group| group.rules).map(|rule| (rule.alert, rule.expr)).collect())
    }

    /// Names of those that ask for a metric.
    pub(super) fn of(&self, metric: &Metric) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, expr)| asks_for(expr, metric)).map(|(name, _)| name.as_str())
    }
}

/// What to ask Prometheus about a metric: the title of a panel, if there is one, and the query.
pub(super) fn queries(metric: &Metric) -> Vec<(Option<&'static str>, String)> {
    let panels: Vec<_> = dashboard::panels()
        .filter(|(_, query)| asks_for(query, metric))
        .map(|(title, query)| (Some(title), everywhere(query)))
        .collect();
    if panels.is_empty() { vec![(None, first(metric))] } else { panels }
}

/// A query without the choice of a dashboard.
fn everywhere(query: &str) -> String {
    query
        .replace(r#"job=~"$job",instance=~"$instance","#, "")
        .replace(r#"{job=~"$job",instance=~"$instance"}"#, "")
}

/// A query to begin with.
fn first(metric: &Metric) -> String {
    let Metric { name, labels, .. } = metric;
    let by = |more: &[&str]| {
        let labels: Vec<&str> = ["instance"].iter().chain(labels.iter()).chain(more).copied().collect();
        format!("sum by ({})", labels.join(", "))
    };
    match metric.kind {
        Type::Counter => format!("{} (rate({name}[5m]))", by(&[])),
        Type::Histogram => format!("histogram_quantile(0.99, {} (rate({name}_bucket[5m])))", by(&["le"])),
        Type::Gauge | Type::Info => name.to_string(),
    }
}

/// Whether a query has a metric in it, by its whole name or that of a part of a histogram.
fn asks_for(query: &str, metric: &Metric) -> bool {
    let mut words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| {
        word.strip_prefix(metric.name).is_some_and(|rest| {
            rest.is_empty() || metric.kind == Type::Histogram && matches!(rest, "_bucket" | "_count" | "_sum")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::METRICS;

    fn metric(name: &str) -> &'static Metric {
        METRICS.iter().find(|metric| metric.name == name).unwrap()
    }

    #[test]
    fn alerts_name_the_metrics_that_they_ask_for() {
        let alerts = Alerts::shipped();
        assert!(alerts.0.len() > 5);
        let of = |name| alerts.of(metric(name)).collect::<Vec<_>>();
        assert_eq!(of("monitor_events_lost_total"), ["MonitorBooksUnbalanced", "MonitorEventsLost"]);
        assert_eq!(of("monitor_kernel_info"), <[&str; 0]>::default());
    }

    #[test]
    fn every_metric_has_a_query_with_its_name_and_nothing_of_the_dashboard() {
        for metric in METRICS {
            for (_, query) in queries(metric) {
                assert!(query.contains(metric.name) && !query.contains('$'), "{query}");
                assert!(!query.contains("{}") && !query.contains("{,"), "{query}");
            }
        }
    }
}
