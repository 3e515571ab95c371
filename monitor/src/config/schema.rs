//! The JSON Schema of the configuration, and what error messages take from it.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::raw;

/// The JSON Schema (draft 7) for editors.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<raw::File>().to_value()
    })
}

/// Keys that DESIGN names and this version doesn't know yet. The table is "" for the top of the file.
const PLANNED: &[(&str, &str)] = &[("", "syscall")];

/// Whether a later version will know this key.
pub(crate) fn is_planned(table: &str, key: &str) -> bool {
    PLANNED.contains(&(table, key))
}

/// The keys of a table, or of the top of the file for "".
pub(crate) fn keys(table: &str) -> Vec<&'static str> {
    properties(table).map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Whether a top-level key is an array of tables (`[[key]]`).
pub(crate) fn is_array_of_tables(key: &str) -> bool {
    properties("").and_then(|map| map.get(key)).is_some_and(|value| value.get("items").is_some())
}

/// Whether a top-level key is a table (`[key]`).
pub(crate) fn is_table(key: &str) -> bool {
    properties("").and_then(|map| map.get(key)).is_some_and(|value| value.get("properties").is_some())
}

/// Whether a key of a table is an array of tables (`[[table.key]]`).
pub(crate) fn is_inner_array_of_tables(table: &str, key: &str) -> bool {
    let found = properties(table).and_then(|map| map.get(key));
    found.is_some_and(|value| value.pointer("/items/properties").is_some())
}

/// Whether a key of a table has keys of its own, which are found under `table.key`.
pub(crate) fn is_nested_table(table: &str, key: &str) -> bool {
    !table.is_empty() && properties(&format!("{table}.{key}")).is_some()
}

/// How a table is written, between backquotes: `[agent]`, `[[sink]]`, `[[packets.interface]]`, or `args` of `[[exec]]`.
pub(crate) fn header(table: &str) -> String {
    if let Some((outer, inner)) = table.split_once('.') {
        if is_inner_array_of_tables(outer, inner) {
            return format!("[[{table}]]");
        }
        return format!("{inner}` of `{}", header(outer));
    }
    if is_array_of_tables(table) { format!("[[{table}]]") } else { format!("[{table}]") }
}

/// An example line `key = value` in TOML.
pub(crate) fn example(table: &str, key: &str) -> Option<String> {
    let value = properties(table)?.get(key)?.get("examples")?.get(0)?;
    Some(format!("{key} = {}", inline_toml(value)))
}

fn properties(table: &str) -> Option<&'static Map<String, Value>> {
    let mut found = schema().get("properties")?;
    for key in table.split('.').filter(|key| !key.is_empty()) {
        let value = found.get(key)?;
        found = value.get("items").unwrap_or(value).get("properties")?;
    }
    found.as_object()
}

fn inline_toml(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<_> =
                map.iter().map(|(key, value)| format!("{key} = {}", inline_toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline_toml).collect::<Vec<_>>().join(", ")),
        // Strings, integers and booleans are written alike in JSON and TOML.
        other => other.to_string(),
    }
}
