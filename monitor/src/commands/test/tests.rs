use std::path::Path;

use super::*;

const POLICY: &str = r#"
mode = "enforce"
[[workload]]
name = "api"
exe = ["/no/bin/psql"]
user = ["app"]
[[database]]
name = "orders"
ports = [5432]
clients = ["api"]
"#;

const CASES: &str = r#"
[[case]]
name = "psql as app reaches orders"
connect = { exe = "/no/bin/psql", user = "app", to = "10.0.0.5:5432" }
expect = "allow"
rule = "orders"

[[case]]
name = 'nobody else does # not even \ these'
connect = { to = "10.0.0.5:5432" }
expect = "allow"

[[case]]
connect = { to = "10.0.0.5:5433" }
expect = "none"
rule = "orders"

[[case]]
name = "a case that can't be asked"
exec = { file = "sh" }
expect = "deny"
"#;

fn outcomes() -> Vec<Outcome> {
    let config = Config::from_text(POLICY).unwrap();
    let mut asker = Asker::new(&config, None).unwrap();
    let cases = Cases::parse(Path::new("cases.toml"), CASES).unwrap().cases;
    cases.into_iter().map(|case| examine(case, &mut asker)).collect()
}

#[test]
fn every_failure_is_told_with_its_reasons() {
    let report = Format::Text.report(&outcomes()).unwrap();
    assert!(report.starts_with("ok     psql as app reaches orders\nFAILED nobody else"), "{report}");
    assert!(report.contains("cases.toml:8: expected allow, but the verdict is deny"), "{report}");
    assert!(report.contains("its real user was not given"), "{report}");
    assert!(
        report.contains(
            "FAILED case 3\n       cases.toml:13: expected rule \"orders\" to decide, but none does"
        ),
        "{report}"
    );
    assert!(report.contains("it can't be asked: \"sh\" is no absolute path"), "{report}");
    assert!(report.ends_with("\n1 passed, 3 failed\n"), "{report}");
}

#[test]
fn what_runs_tests_can_read_it() {
    let tap = Format::Tap.report(&outcomes()).unwrap();
    assert!(tap.starts_with("TAP version 14\n1..4\nok 1 - psql as app reaches orders\nnot ok 2 - "), "{tap}");
    assert!(tap.contains("nobody else does \\# not even \\\\ these\n# cases.toml:8: expected"), "{tap}");
    let xml = Format::Junit.report(&outcomes()).unwrap();
    assert!(xml.contains("tests=\"4\"") && xml.contains("failures=\"3\""), "{xml}");
}

#[test]
fn mistakes_in_cases_are_all_told() {
    let read = |text: &str| Cases::parse(Path::new("c.toml"), text).err().map(|error| format!("{error:#}"));
    for (text, told) in [
        ("", "has no case"),
        ("[[case]\n", "c.toml:1: "),
        ("[[cases]]\nexpect = \"none\"\n", "c.toml:1: a file of cases has `[[case]]` only, not \"cases\""),
        ("\n[[case]]\nexpect = \"none\"\n", "c.toml:2: a case asks exactly one of connect"),
        ("[[case]]\nraw = {}\nexpect = \"maybe\"\n", "maybe"),
        ("[[case]]\nraw = {}\nexpected = \"none\"\n", "no key \"expected\""),
        ("[[case]]\nraw = { usr = \"x\" }\nexpect = \"none\"\n", "usr"),
        ("[[case]]\nraw = { user = 1000 }\n", "expect"),
    ] {
        let error = read(text).unwrap_or_default();
        assert!(error.contains(told), "{text}: {error}");
    }
    let two = read("[[case]]\nraw = {}\n[[case]]\nexpect = \"none\"\n").unwrap();
    assert!(two.contains("c.toml:1: ") && two.contains("c.toml:3: "), "{two}");
}
