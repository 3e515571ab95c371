//! Events as log records of OpenTelemetry (OTLP over HTTP, protobuf).

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;
use serde_json::{Map, Value};

use super::super::level;
use crate::{
    event::Event,
    render::{self, json},
};

/// The body of a post to `/v1/logs`.
pub(super) fn request(events: &[Arc<Event>]) -> Vec<u8> {
    let attributes = vec![
        pair("service.name", Value::from("monitor")),
        pair("service.version", Value::from(env!("CARGO_PKG_VERSION"))),
        pair("host.name", Value::from(render::host())),
    ];
    let scope = InstrumentationScope {
        name: "monitor".into(),
        version: json::VERSION.to_string(),
        ..InstrumentationScope::default()
    };
    let logs = ScopeLogs {
        scope: Some(scope),
        log_records: events.iter().map(|event| record(event)).collect(),
        ..ScopeLogs::default()
    };
    let resource = Resource { attributes, ..Resource::default() };
    let logs = ResourceLogs { resource: Some(resource), scope_logs: vec![logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

/// How many records a collector that took the rest refused, and why.
pub(super) fn refused(answer: &[u8]) -> Option<(usize, String)> {
    let partial = ExportLogsServiceResponse::decode(answer).ok()?.partial_success?;
    let count = usize::try_from(partial.rejected_log_records).ok().filter(|count| *count > 0)?;
    Some((count, format!("the collector refused some: {:?}", partial.error_message)))
}

fn record(event: &Event) -> LogRecord {
    let nanos = u64::try_from(event.time.as_nanosecond()).unwrap_or_default();
    let (severity_number, severity_text) = level::otel(event);
    let mut fields = match json::value(event) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    // The record has its own field for the time, and the resource the host.
    for known in ["time", "host"] {
        fields.remove(known);
    }
    let said = fields.remove("why").unwrap_or_else(|| Value::from(event.kind.name()));
    let attributes = fields.into_iter().map(|(key, value)| pair(&format!("monitor.{key}"), value)).collect();
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number,
        severity_text: severity_text.into(),
        body: Some(any(said)),
        attributes,
        event_name: if event.finding.is_some() { "monitor.finding".into() } else { "monitor.event".into() },
        ..LogRecord::default()
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: Value) -> AnyValue {
    use any_value::Value as Any;
    let value = match value {
        Value::Null => None,
        Value::Bool(value) => Some(Any::BoolValue(value)),
        // What doesn't fit is told as text rather than rounded.
        Value::Number(number) => Some(match number.as_i64() {
            Some(number) => Any::IntValue(number),
            None => Any::StringValue(number.to_string()),
        }),
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Array(values) => {
            Some(Any::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() }))
        }
        Value::Object(fields) => {
            let values = fields.into_iter().map(|(key, value)| pair(&key, value)).collect();
            Some(Any::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}
