//! The JSON Schema of lines, and the page that explains each field. Both come from the types that are written.

use std::fmt::Write as _;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::{
    DetailPart, Head, Line, VERSION,
    finding::{AncestorPart, FindingPart},
    process::{ContainerPart, Exe, File, ProcessPart, ProgramPart},
};

/// The JSON Schema (draft 2020-12) of a line.
#[must_use]
pub fn schema() -> Value {
    of::<Line<'static>>()
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.inline_subschemas = true;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

const INTRO: &str = "# Fields of findings and events

<!-- Made by `monitor docs findings` from the types that are written. -->

With `format = \"json\"` a sink gets one JSON object a line. [findings.schema.json](findings.schema.json) is its JSON Schema, made
from the same types. [events.md](events.md) tells what the kinds mean and shows lines for people; [sinks.md](sinks.md) tells
where lines can go.

- A field keeps its name and meaning as long as `version` is the same. New fields may come: skip those you don't know.
- Text that somebody else chose is escaped: one line, no control characters, a backslash doubled.
- \"Optional\" fields are left out where there is nothing to say; a `null` says that it isn't known.
";

/// A Markdown page with every field.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(INTRO);
    let _ = writeln!(out, "- This is version {VERSION}.");
    section(&mut out, "## In every line", &of::<Head<'static>>());
    section(&mut out, "## In findings", &of::<FindingPart<'static>>());
    section(&mut out, "### In each of `ancestry`", &of::<AncestorPart<'static>>());
    section(&mut out, "## Where a process did it", &of::<ProcessPart<'static>>());
    section(&mut out, "### In `container`", &of::<ContainerPart<'static>>());
    section(&mut out, "## What it runs", &of::<ProgramPart<'static>>());
    section(&mut out, "### In `exe` and `by`", &of::<Exe<'static>>());
    section(&mut out, "### In `script_file`", &of::<File>());
    out.push_str("\n## By kind\n");
    let kinds = of::<DetailPart<'static>>();
    for kind in kinds["anyOf"].as_array().into_iter().flatten() {
        let about = kind["description"].as_str().unwrap_or_default();
        let (names, about) = about.split_once(": ").unwrap_or(("", about));
        section(&mut out, &format!("### {names}\n\n{}", capital(&one_line(about))), kind);
    }
    out
}

fn section(out: &mut String, heading: &str, schema: &Value) {
    let _ = write!(out, "\n{heading}\n\n| field | type | meaning |\n|---|---|---|\n");
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // Fields that are flattened into others have their own section.
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let optional = if required.contains(&&**name) { "" } else { ", optional" };
        let about = one_line(field["description"].as_str().unwrap_or_default()).replace('|', "\\|");
        let _ = writeln!(out, "| `{name}` | {}{optional} | {about} |", type_of(field));
    }
}

/// The type in words.
fn type_of(field: &Value) -> String {
    let name = match &field["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        // What may be an object or null.
        _ => match field["anyOf"].as_array() {
            Some(any) => any.iter().map(type_of).collect::<Vec<_>>().join(" or "),
            None => "string".to_owned(),
        },
    };
    match field["items"].as_object() {
        Some(_) => format!("{name} of {}s", type_of(&field["items"])),
        None if field["format"] == "date-time" => "time".to_owned(),
        None => name,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::{json::line, samples};

    proptest! {
        #[test]
        fn every_line_is_as_the_schema_says(event in samples::any_event()) {
            let mut out = Vec::new();
            line(&event, &mut out);
            let value: Value = serde_json::from_slice(&out).unwrap();
            let mut strict = schema();
            // What is written beyond the schema would be a field that nobody explains.
            strict["unevaluatedProperties"] = Value::Bool(false);
            let validator = jsonschema::options().should_validate_formats(true).build(&strict).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            prop_assert!(errors.is_empty(), "{errors:?} in {value}");
        }
    }

    #[test]
    fn the_schema_refuses_what_is_no_line() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let mut out = Vec::new();
        line(&samples::denied_connect(), &mut out);
        let good: Value = serde_json::from_slice(&out).unwrap();
        assert!(validator.is_valid(&good));
        for (field, wrong) in [("verdict", "maybe"), ("type", "finding?"), ("pid", "1"), ("time", "")] {
            let mut bad = good.clone();
            bad[field] = if field == "time" { Value::Null } else { Value::from(wrong) };
            assert!(!validator.is_valid(&bad), "{field}");
        }
    }

    /// Each field of each type is explained.
    #[test]
    fn no_field_is_without_a_word() {
        let page = markdown();
        let bare: Vec<_> = page.lines().filter(|line| line.ends_with("|  |")).collect();
        assert!(bare.is_empty(), "{bare:#?}");
        for name in ["`ancestry`", "`phase`", "`cgroup_path`", "`script_file`", "`penalty_seconds`", "`addr`"]
        {
            assert!(page.contains(&format!("| {name} |")), "{name} in {page}");
        }
    }
}
