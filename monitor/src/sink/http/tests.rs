//! Against a server that answers as it is told.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::any_value,
};
use prost::Message as _;
use serde_json::Value;

use super::*;
use crate::{config::Endpoint, render::samples};

/// Head and body of a request.
type Asked = (String, Vec<u8>);

/// Answers requests one after the other, on as many connections as it takes.
fn server(answers: Vec<(&'static str, Vec<u8>)>) -> (u16, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = answers.into_iter();
        while let Ok((stream, _)) = listener.accept() {
            let mut reader = BufReader::new(stream);
            while let Some(request) = read(&mut reader) {
                let Some((status, body)) = answers.next() else { return };
                asked.send(request).unwrap();
                let stream = reader.get_mut();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
                stream.write_all(&body).unwrap();
            }
        }
    });
    (port, receiver)
}

fn read(reader: &mut BufReader<std::net::TcpStream>) -> Option<Asked> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn http(kind: HttpKind, port: u16, token: Option<Secret>) -> Http {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port };
    Http::new(kind, Url { tls: None, endpoint, path: "/in?x=1".into() }, token, Style::Json).unwrap()
}

fn findings(count: usize) -> Vec<Arc<Event>> {
    (0..count).map(|_| Arc::new(samples::denied_connect())).collect()
}

#[test]
fn a_batch_is_one_array_with_the_token_in_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let (port, asked) = server(vec![("200 OK", vec![]), ("204 No Content", vec![])]);
    let mut http = http(HttpKind::Webhook, port, Some(Secret::File(path.clone())));
    assert!(matches!(http.send(&findings(3)), (3, Ok(()))));
    let (head, body) = asked.recv().unwrap();
    assert!(head.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer s3cret\r\n"), "{head}");
    let lines: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((lines.as_array().unwrap().len(), &lines[2]["rule"]), (3, &Value::from("orders")));
    assert!(!format!("{:?}", http.authorization).contains("s3cret"));
    // A new token is read when the sinks are opened anew.
    std::fs::write(&path, "another").unwrap();
    http.reopen();
    assert!(matches!(http.send(&findings(1)), (1, Ok(()))));
    assert!(asked.recv().unwrap().0.to_ascii_lowercase().contains("bearer another\r\n"));
}

#[test]
fn what_the_answer_means() {
    let answers = vec![
        ("503 Busy", vec![]),
        ("429 Slow down", vec![]),
        ("401 Who", vec![]),
        ("400 No", b"not\nthis".to_vec()),
        ("413 Large", vec![]),
        ("200 OK", vec![]),
    ];
    let (port, asked) = server(answers);
    let mut http = http(HttpKind::Webhook, port, None);
    for _ in 0..3 {
        assert!(matches!(http.send(&findings(4)), (0, Err(Failure::Away(_)))));
    }
    let (0, Err(Failure::Never(4, Loss::Rejected, error))) = http.send(&findings(4)) else { panic!("taken") };
    assert!(error.to_string().contains("not\\nthis"), "{error}");
    // Half of what was too large goes through; the rest is the next batch.
    assert!(matches!(http.send(&findings(4)), (2, Ok(()))));
    assert_eq!(asked.iter().take(6).count(), 6);
    assert!(matches!(http.send(&findings(1)), (0, Err(Failure::Away(_)))), "it answers no more");
}

#[test]
fn alerts_have_labels_from_closed_sets_only() {
    let (port, asked) = server(vec![("200 OK", vec![])]);
    let mut event = samples::denied_connect();
    event.finding.as_mut().unwrap().why = "a\nb".into();
    let mut http = http(HttpKind::Alertmanager, port, None);
    assert!(matches!(http.send(&[Arc::new(event), Arc::new(samples::exec())]), (2, Ok(()))));
    let alerts: Value = serde_json::from_slice(&asked.recv().unwrap().1).unwrap();
    assert_eq!(alerts.as_array().unwrap().len(), 1, "an event is no alert");
    let labels: Vec<_> = alerts[0]["labels"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(labels, ["alertname", "instance", "kind", "mode", "rule", "rule_kind", "verdict"]);
    assert_eq!(alerts[0]["annotations"]["summary"], "a\\nb");
    assert_eq!(alerts[0]["startsAt"], "2026-11-23T17:40:32.000Z");
}

#[test]
fn a_collector_gets_records_and_says_what_it_refused() {
    let partial = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "old".into() };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (port, asked) = server(vec![("200 OK", vec![]), ("200 OK", answer)]);
    let mut http = http(HttpKind::Otlp, port, None);
    assert!(matches!(http.send(&findings(2)), (2, Ok(()))));
    let (head, body) = asked.recv().unwrap();
    assert!(head.to_ascii_lowercase().contains("content-type: application/x-protobuf"), "{head}");
    let request = ExportLogsServiceRequest::decode(&*body).unwrap();
    let record = &request.resource_logs[0].scope_logs[0].log_records[1];
    assert_eq!(record.time_unix_nano, 1_795_455_632_000_000_001);
    let text = |value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>| match &value
        .as_ref()
        .unwrap()
        .value
    {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&record.body), "only api may connect");
    let of = |key: &str| text(&record.attributes.iter().find(|pair| pair.key == key).unwrap().value);
    assert_eq!((of("monitor.rule"), of("monitor.object")), ("orders".into(), "10.0.0.1:5432".into()));
    assert!(matches!(http.send(&findings(2)), (1, Err(Failure::Never(1, Loss::Rejected, _)))));
}
