//! Findings as alerts, for Alertmanager's API version 2.
//!
//! Alerts with the same labels are one alert there. So labels have only names from the policy and words from the code; what
//! others chose stands in the annotations.

use std::sync::Arc;

use monitor_common::policy::verdict;
use serde_json::{Value, json};

use crate::{
    event::{Event, Text},
    render,
};

/// The body of a post to `/api/v2/alerts`. What is no finding is left out.
pub(super) fn alerts(events: &[Arc<Event>]) -> Vec<u8> {
    let alerts: Vec<_> = events.iter().filter_map(|event| alert(event)).collect();
    Value::from(alerts).to_string().into_bytes()
}

fn alert(event: &Event) -> Option<Value> {
    let finding = event.finding.as_ref()?;
    let tags = &finding.tags;
    let mut labels = json!({
        "alertname": "MonitorFinding",
        "rule": &*finding.rule,
        "rule_kind": finding.rule_kind.name(),
        "verdict": verdict::name(finding.verdict),
        "mode": finding.mode.name(),
        "kind": event.kind.name(),
        "instance": render::host(),
    });
    if let Some(severity) = tags.severity {
        labels["severity"] = json!(severity);
    }
    if let Some(practice) = &tags.practice {
        labels["practice"] = json!(&**practice);
    }
    let mut annotations = json!({
        "summary": Text::new(&finding.why),
        "subject": event.subject(),
        "object": event.object(),
        "count": finding.count().to_string(),
        "phase": finding.phase.name(),
    });
    if !tags.attack.is_empty() {
        annotations["attack"] = json!(tags.attack.join(", "));
    }
    if let Some(who) = &event.actor {
        annotations["pid"] = json!(who.process.pid.to_string());
        if let Some(unit) = who.place.as_ref().and_then(|place| place.placement.unit.as_deref()) {
            annotations["unit"] = json!(Text::from(unit));
        }
    }
    // When it ends Alertmanager knows best: after its `resolve_timeout`.
    Some(json!({ "labels": labels, "annotations": annotations, "startsAt": format!("{:.3}", event.time) }))
}
