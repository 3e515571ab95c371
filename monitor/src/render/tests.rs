use std::collections::BTreeSet;

use monitor_common::event::Kind;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::Value;

use super::{Style, samples, sentence};
use crate::event::Event;

const DOCUMENT: &str = include_str!("../../../docs/events.md");
const FIELDS: &str = include_str!("../../../docs/findings.md");

#[test]
fn a_sentence_is_escaped_once() {
    assert_eq!(sentence("api ran \"a\\nb\" größe"), "api ran \"a\\nb\" größe");
    assert_eq!(sentence("a\nb\u{9b}c\\"), "a\\nb\\u{9b}c\\");
}

fn show(event: &Event, style: Style) -> String {
    let mut out = Vec::new();
    style.line(event, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_document_has_each_kind_as_it_is_shown() {
    let events = samples::each_kind();
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), Kind::ALL);
    for event in events {
        assert!(DOCUMENT.contains(&format!("\n### {}\n", event.kind.name())));
        let line = show(&event, Style::Text { colour: false });
        assert!(DOCUMENT.contains(&format!("```text\n{line}```\n")), "missing: {line}");
    }
}

/// Any event at all, so that fields that are rarely there are met as well.
#[test]
fn the_document_has_every_field() {
    let mut runner = TestRunner::deterministic();
    let mut fields = BTreeSet::new();
    for _ in 0..2000 {
        let event = samples::any_event().new_tree(&mut runner).unwrap().current();
        let value: Value = serde_json::from_str(&show(&event, Style::Json)).unwrap();
        add_fields(&value, &mut fields);
    }
    let missing = |field: &&String| !FIELDS.contains(&format!("| `{field}` |"));
    assert_eq!(fields.iter().filter(missing).collect::<Vec<_>>(), [""; 0]);
    assert!(fields.contains("script_file") && fields.contains("user_unit"), "{fields:?}");
}

fn add_fields(value: &Value, fields: &mut BTreeSet<String>) {
    if let Value::Object(object) = value {
        fields.extend(object.keys().cloned());
        object.values().for_each(|value| add_fields(value, fields));
    }
}
