//! `monitor check`: validates configuration files and lints them against this host.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::{self, Config, Diagnostic, Loaded, Severity};

/// Arguments of `monitor check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration files; together they must make one configuration. The files of a `policy.d` beside one
    /// are read too.
    #[arg(required_unless_present = "print_default", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print what was found as a JSON array to standard output.
    #[arg(long)]
    pub json: bool,
    /// What to count as an error.
    #[arg(long, value_name = "WHAT")]
    pub deny: Option<Deny>,
    /// Print the built-in configuration, a commented file to begin with.
    #[arg(long, conflicts_with_all = ["files", "json", "deny"])]
    pub print_default: bool,
}

/// What is counted as an error besides errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Deny {
    /// Warnings.
    Warnings,
}

/// Checks the files. The exit code is 1 if there is an error.
///
/// # Errors
/// If standard output or standard error can't be written to.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checked = check(args, coloured());
    io::stderr().lock().write_all(checked.stderr.as_bytes()).context("can't write to standard error")?;
    match io::stdout().lock().write_all(checked.stdout.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("can't write to standard output")?,
    }
    Ok(if checked.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the command answers.
struct Checked {
    stdout: String,
    stderr: String,
    failed: bool,
}

fn check(args: &Args, colour: bool) -> Checked {
    if args.print_default {
        return Checked { stdout: config::DEFAULT_TEXT.into(), stderr: String::new(), failed: false };
    }
    let mut loaded = Loaded::from_files(&args.files);
    config::lint(&mut loaded);
    let bad = |found: &Diagnostic| found.severity() == Severity::Error || args.deny == Some(Deny::Warnings);
    let failed = loaded.config.is_none() || loaded.diagnostics.iter().any(bad);
    if args.json {
        let json: Vec<_> = loaded.diagnostics.iter().map(Diagnostic::to_json).collect();
        let stdout = format!("{:#}\n", serde_json::Value::Array(json));
        return Checked { stdout, stderr: String::new(), failed };
    }
    let stderr = config::render_all(&loaded.diagnostics, colour);
    Checked { stdout: summary(&loaded, failed) + "\n", stderr, failed }
}

/// Colours only for people who want them.
fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// `ok: 3 workloads, 2 databases, 1 exec rule, 0 rate limits (1 warning)`, or what was found. Most warnings are about a
/// configuration as a whole, so with errors nobody has looked for them: none found is not none there.
fn summary(loaded: &Loaded, failed: bool) -> String {
    let count = |severity| loaded.diagnostics.iter().filter(|found| found.severity() == severity).count();
    let warnings = plural(count(Severity::Warning), "warning");
    match &loaded.config {
        Some(config) if !failed && count(Severity::Warning) > 0 => {
            format!("ok: {} ({warnings})", contents(config))
        }
        Some(config) if !failed => format!("ok: {}", contents(config)),
        Some(_) => format!("failed: {}, {warnings}", plural(count(Severity::Error), "error")),
        None => {
            let found = if count(Severity::Warning) > 0 { format!(", {warnings}") } else { String::new() };
            let errors = plural(count(Severity::Error), "error");
            format!("failed: {errors}{found} (other warnings are looked for when there is no error)")
        }
    }
}

fn contents(config: &Config) -> String {
    let parts = [
        plural(config.workloads.len(), "workload"),
        plural(config.databases.len(), "database"),
        plural(config.execs.len(), "exec rule"),
        plural(config.rate_limits.len(), "rate limit"),
    ];
    parts.join(", ")
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, json: bool, deny: Option<Deny>) -> Checked {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("monitor.toml");
        std::fs::write(&file, text).unwrap();
        check(&Args { files: vec![file], json, deny, print_default: false }, false)
    }

    const UNUSED: &str = "[[workload]]\nname = \"w\"\nexe = [\"/bin/*\"]\n";

    #[test]
    fn a_good_file_gets_one_line() {
        let good = checked("", false, Some(Deny::Warnings));
        assert_eq!(good.stdout, "ok: 0 workloads, 0 databases, 0 exec rules, 0 rate limits\n");
        assert_eq!((good.stderr.as_str(), good.failed), ("", false));
    }

    #[test]
    fn warnings_fail_only_if_denied() {
        let warned = checked(UNUSED, false, None);
        assert_eq!(warned.stdout, "ok: 1 workload, 0 databases, 0 exec rules, 0 rate limits (1 warning)\n");
        assert!(warned.stderr.starts_with("warning: nothing uses the workload `w`\n"), "{}", warned.stderr);
        assert!(!warned.failed);
        let denied = checked(UNUSED, false, Some(Deny::Warnings));
        assert_eq!((denied.stdout.as_str(), denied.failed), ("failed: 0 errors, 1 warning\n", true));
    }

    #[test]
    fn errors_fail() {
        let failed = checked("mode = 1\nx = 2\n", false, None);
        let said = "failed: 2 errors (other warnings are looked for when there is no error)\n";
        assert_eq!((failed.stdout.as_str(), failed.failed), (said, true));
        let unused = checked(&format!("mode = 1\n{UNUSED}"), false, None);
        assert!(!unused.stdout.contains("0 warnings"), "{}", unused.stdout);
    }

    #[test]
    fn json_is_an_array_of_findings() {
        let checked = checked("mode = \"on\"\n", true, None);
        let json: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
        let found = &json[0];
        let numbers = ["line", "column", "end_line", "end_column"].map(|key| found[key].as_u64());
        assert_eq!(numbers, [Some(1), Some(8), Some(1), Some(12)]);
        assert_eq!(
            (&found["severity"], &found["message"]),
            (&"error".into(), &"`on` is no value of `mode`".into())
        );
        assert_eq!(found["help"], "it may be `\"observe\"` or `\"enforce\"`");
        assert!(found["file"].as_str().unwrap().ends_with("/monitor.toml"));
        assert!(checked.failed && checked.stderr.is_empty());
        let good: serde_json::Value = serde_json::from_str(&self::checked("", true, None).stdout).unwrap();
        assert_eq!(good, serde_json::json!([]));
    }

    #[test]
    fn the_shipped_policies_are_clean_and_say_what_they_are_about() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
        files.sort();
        let args = Args { files, json: false, deny: Some(Deny::Warnings), print_default: false };
        let checked = check(&args, false);
        assert_eq!((checked.stderr.as_str(), checked.failed), ("", false), "{}", checked.stdout);
        for path in &args.files {
            let text = std::fs::read_to_string(path).unwrap();
            let rules = ["exec", "database", "listen", "rate_limit"]
                .map(|kind| text.matches(&format!("\n[[{kind}]]\n")).count());
            let rules = rules.iter().sum::<usize>() + text.matches("\n[process_memory]\n").count();
            assert!(rules > 0 && text.contains("# False positives: "), "{}", path.display());
            for key in ["mode = \"observe\"", "severity = \"", "practice = \"", "attack = [\"T"] {
                assert_eq!(text.matches(&format!("\n{key}")).count(), rules, "{key} in {}", path.display());
            }
        }
    }

    #[test]
    fn the_default_can_be_checked() {
        let args = Args { files: Vec::new(), json: false, deny: None, print_default: true };
        let printed = check(&args, false);
        assert!(!checked(&printed.stdout, false, Some(Deny::Warnings)).failed);
    }
}
