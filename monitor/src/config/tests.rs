//! Table-driven tests: what is accepted and what it means; what is refused, where, and what the help says.

mod bounds;
mod broken;
mod databases;
mod execs;
mod files;
mod good;
mod meaning;
mod overlaps;
mod rates;
mod robust;
mod rules;
mod settings;
mod workloads;

use std::path::Path;

use super::{Config, Loaded};

/// Every key of this version.
const EVERY_KEY: &str = include_str!("tests/every_key.toml");

/// A file and everything that must be found in it, each as `line:column severity: message | help`.
struct Case {
    text: &'static str,
    found: &'static [&'static str],
}

fn check(cases: &[Case]) {
    for case in cases {
        assert_eq!(found(case.text), case.found, "in:\n{}", case.text);
    }
}

/// The configuration that a text means; it must have nothing to find in it.
fn load(text: &str) -> Config {
    let loaded = Loaded::from_text(Path::new("test.toml"), text);
    assert_eq!(show(&loaded), [""; 0]);
    loaded.config.unwrap()
}

fn found(text: &str) -> Vec<String> {
    show(&Loaded::from_text(Path::new("test.toml"), text))
}

pub(super) fn show(loaded: &Loaded) -> Vec<String> {
    let line = |diagnostic: &super::Diagnostic| {
        let place = diagnostic.place();
        let severity = diagnostic.severity().name();
        let help = diagnostic.help_text().unwrap_or("-");
        format!("{}:{} {severity}: {} | {help}", place.line, place.column, diagnostic.message())
    };
    loaded.diagnostics.iter().map(line).collect()
}
