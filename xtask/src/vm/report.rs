//! What a guest says on its second serial port: the lines of libtest, lines of its first process
//! (`tests/src/bin/guest-init.rs`) that begin with `@guest`, and those of `tests/src/bin/sheet` that begin with `@sheet`.

use super::book::Row;

/// What came of the tests of one guest, as far as heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run because they are marked so.
    pub ignored: u64,
    /// Whether the guest came as far as running tests.
    pub up: bool,
    /// What went wrong outside the tests themselves.
    pub problems: Vec<String>,
    /// Whether the console tells more about it.
    pub see_console: bool,
    /// The value that the guest would have ended with, had its kernel let it.
    pub off: Option<i32>,
    /// What was found out about the kernel.
    pub rows: Vec<Row>,
    /// Whether the test binary now running has given its result.
    has_result: bool,
    /// Whether tests were listed instead of run (`--list`).
    listed: bool,
}

impl Report {
    /// Takes a line and returns what a person should see of it.
    pub fn take<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let line = line.trim_end();
        if let Some(said) = line.strip_prefix("@guest ") {
            self.guest(said);
            return None;
        }
        if let Some(row) = line.strip_prefix("@sheet ") {
            match serde_json::from_str(row) {
                Ok(row) => self.rows.push(row),
                Err(error) => self.problems.push(format!("the sheet has a bad row: {error}: {row}")),
            }
            return None;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
        }
        // `23 tests, 0 benchmarks`
        if line.ends_with(" benchmarks") && line.contains(" tests, ") {
            self.has_result = true;
            self.listed = true;
        }
        let dull = line.is_empty() || line.starts_with("running ") || line.starts_with("test result: ");
        (!dull).then_some(line)
    }

    /// Whether everything that ran is well, and something ran.
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.problems.is_empty() && !self.is_empty()
    }

    /// Whether there was nothing to do, which hardly anybody means.
    pub fn is_empty(&self) -> bool {
        self.passed + self.failed == 0 && !self.listed && self.rows.is_empty()
    }

    /// Notes what went wrong below the tests.
    pub fn broken(&mut self, problem: String) {
        self.problems.push(problem);
        self.see_console = true;
    }

    fn guest(&mut self, said: &str) {
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        match word {
            "up" => self.up = true,
            "begin" => self.has_result = false,
            "end" => self.ended(rest),
            "off" => self.off = rest.parse().ok(),
            "error" => self.broken(format!("the guest could not be set up: {rest}")),
            _ => self.problems.push(format!("the guest said something unknown: {said}")),
        }
    }

    fn ended(&mut self, said: &str) {
        let (name, status) = said.split_once(' ').unwrap_or((said, ""));
        match status {
            "exit=0" if self.has_result || (name == "sheet" && !self.rows.is_empty()) => {}
            // Tests that failed, which the result has counted.
            "exit=101" if self.has_result && self.failed > 0 => {}
            "timeout" => {
                self.problems.push(format!("{name} did not end in time; the console has every task's stack"))
            }
            _ => self.problems.push(format!("{name} ended without a result ({status})")),
        }
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
    fn result(&mut self, counts: &str) {
        self.has_result = true;
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or_default();
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> (Report, Vec<String>) {
        let mut report = Report::default();
        let shown = lines.iter().filter_map(|line| report.take(line).map(str::to_owned)).collect();
        (report, shown)
    }

    #[test]
    fn counts_add_up_over_binaries() {
        let (report, shown) = report(&[
            "@guest up",
            "@guest begin one",
            "",
            "running 2 tests",
            "test a ... ok\r",
            "test b ... ignored",
            "",
            "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s",
            "@guest end one exit=0",
            "@guest begin two",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "@guest end two exit=0",
        ]);
        assert_eq!((report.passed, report.failed, report.ignored, report.up), (3, 0, 1, true));
        assert!(report.is_good());
        assert_eq!(shown, ["test a ... ok", "test b ... ignored"]);
    }

    #[test]
    fn failures_are_no_problem_of_the_guest() {
        let result =
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let (report, _) = report(&["@guest up", "@guest begin one", result, "@guest end one exit=101"]);
        assert_eq!((report.failed, report.problems.len()), (2, 0));
        assert!(!report.is_good());
    }

    #[test]
    fn ends_without_a_result_are_problems() {
        for status in ["exit=0", "exit=101", "signal=11", "timeout", "exit=127"] {
            let (report, _) = report(&["@guest up", "@guest begin one", &format!("@guest end one {status}")]);
            assert_eq!(report.problems.len(), 1, "{status}");
        }
        let (report, _) = report(&["@guest error cannot load the module /m"]);
        assert!(report.problems[0].contains("/m"));
    }

    #[test]
    fn nothing_run_is_not_good() {
        let result =
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        let (report, _) = report(&["@guest up", "@guest begin one", result, "@guest end one exit=0"]);
        assert!(report.problems.is_empty() && !report.is_good());
    }
}
