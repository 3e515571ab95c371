//! Table-driven tests: what is accepted and what it means; what is refused, where, and what the help says.

mod broken;
mod files;
mod good;
mod rates;
mod robust;
mod rules;
mod settings;

use std::path::Path;

use super::Loaded;

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

fn found(text: &str) -> Vec<String> {
    show(&Loaded::from_text(Path::new("test.toml"), text))
}

fn show(loaded: &Loaded) -> Vec<String> {
    let line = |diagnostic: &super::Diagnostic| {
        let place = diagnostic.place();
        let severity = diagnostic.severity().name();
        let help = diagnostic.help_text().unwrap_or("-");
        format!("{}:{} {severity}: {} | {help}", place.line, place.column, diagnostic.message())
    };
    loaded.diagnostics.iter().map(line).collect()
}
