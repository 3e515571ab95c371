//! The answer for people.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::{
    event::Text,
    overview::{Overview, Remark},
};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const SO_SO: Style = AnsiColor::Yellow.on_default();
const HEAD: Style = Style::new().bold();

/// Writing to memory can't fail, so results are let go.
struct Page {
    out: String,
    colour: bool,
}

impl Page {
    fn styled(&mut self, style: Style, text: &str) {
        let _ =
            if self.colour { write!(self.out, "{style}{text}{style:#}") } else { write!(self.out, "{text}") };
    }

    fn row(&mut self, head: &str, text: &str) {
        self.styled(HEAD, &format!("{head:<12}"));
        let _ = writeln!(self.out, "{text}");
    }

    fn remarks(&mut self, style: Style, word: &str, remarks: &[Remark]) {
        for remark in remarks {
            self.styled(style, &format!("{word:<12}"));
            let _ = writeln!(self.out, "{}", remark.detail);
            let _ = writeln!(self.out, "{:12}-> {}", "", remark.remedy);
        }
    }

    /// A table whose first column is below the texts of rows.
    fn table(&mut self, head: &str, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            rows.iter()
                .filter_map(|row: &Vec<String>| row.get(column))
                .map(|cell: &String| cell.chars().count())
                .max()
        };
        let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let line = cells.join("  ");
            self.row(if index == 0 { head } else { "" }, line.trim_end());
        }
    }
}

/// All of it.
pub(crate) fn show(overview: &Overview, colour: bool) -> String {
    let mut page = Page { out: String::new(), colour };
    let (style, word) = if overview.healthy { (GOOD, "healthy") } else { (BAD, "UNHEALTHY") };
    page.styled(style, word);
    let up = span(overview.now - overview.started);
    let _ = writeln!(
        page.out,
        "  monitor {} (pid {}) on {}, kernel {}, up {up}",
        Text::from(&*overview.version),
        overview.pid,
        Text::from(&*overview.host),
        Text::from(&*overview.kernel)
    );
    page.remarks(BAD, "problem", &overview.problems);
    page.remarks(SO_SO, "note", &overview.notes);
    enforcement(&mut page, overview);
    books(&mut page, overview);
    let usage = overview.usage;
    let memory = usage.resident_bytes as f64 / f64::from(1 << 20);
    page.row(
        "uses",
        &format!("{memory:.1} MiB, {:.1} s of CPU, {} files", usage.cpu_seconds, usage.open_fds),
    );
    page.out
}

fn enforcement(page: &mut Page, overview: &Overview) {
    match &overview.policy {
        None => page.row("policy", "none in force"),
        Some(policy) => {
            let sha = policy.sha256.get(..16).unwrap_or(&policy.sha256);
            let text = format!("{} mode, generation {}, sha256 {sha}...", policy.mode, policy.generation);
            page.row("policy", &text);
        }
    }
    let capabilities = overview.capabilities.iter();
    let rows: Vec<_> =
        capabilities.map(|row| vec![row.feature.clone(), row.state.clone(), row.reason.clone()]).collect();
    page.table("enforces", &rows);
    let canaries = overview.canaries.iter();
    let rows: Vec<_> = canaries
        .map(|canary| {
            let last = canary.last_success.map(|at| format!("{} ago", span(overview.now - at)));
            let last = last.unwrap_or_else(|| "never".to_owned());
            let live = if canary.live { "refused" } else { "PASSED" };
            vec![canary.path.clone(), live.to_owned(), format!("last refused {last}")]
        })
        .collect();
    page.table("canaries", &rows);
    let names: Vec<_> =
        overview.interfaces.iter().map(|row| format!("{} ({})", Text::from(&*row.name), row.mode)).collect();
    let listed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let more = overview.interfaces_covered.saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    page.row("interfaces", &format!("{listed}{more}"));
    let rows: Vec<_> = overview
        .rules
        .iter()
        .map(|rule| {
            let would = if rule.mode == "observe" { "would " } else { "" };
            let verdict = format!("{would}{}", rule.verdict);
            vec![Text::from(&*rule.rule).to_string(), rule.kind.clone(), verdict, rule.count.to_string()]
        })
        .collect();
    page.table("rules", &rows);
    if overview.bans > 0 {
        page.row("bans", &format!("{} by hand; `monitor ban list`", overview.bans));
    }
}

fn books(page: &mut Page, overview: &Overview) {
    let head = ["kind", "seen", "delivered", "suppressed", "lost"].map(str::to_owned).to_vec();
    let rows = overview.books.iter().filter(|book| book.seen > 0).map(|book| {
        let numbers =
            [book.seen, book.delivered, book.suppressed, book.lost].map(|number| number.to_string());
        std::iter::once(book.kind.clone()).chain(numbers).collect()
    });
    page.table("events", &std::iter::once(head).chain(rows).collect::<Vec<_>>());
    let rows: Vec<_> = overview
        .sinks
        .iter()
        .map(|sink| {
            let lost: Vec<_> =
                sink.lost.iter().map(|lost| format!("{} {}", lost.count, lost.reason)).collect();
            let lost = if lost.is_empty() { "0".to_owned() } else { lost.join(", ") };
            vec![sink.name.clone(), format!("{} written", sink.delivered), format!("{lost} lost")]
        })
        .collect();
    page.table("sinks", &rows);
}

/// Seconds as people say it: the two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days} d {hours} h"),
        () if hours > 0 => format!("{hours} h {minutes} min"),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::{Book, Canary, Policy, Reason, Sink};

    fn sample() -> Overview {
        Overview {
            now: 100_000.0,
            started: 1_000.0,
            healthy: true,
            policy: Some(Policy { sha256: "ab".repeat(32), generation: 3, mode: "enforce".into() }),
            canaries: vec![Canary { path: "exec".into(), live: true, last_success: Some(99_990.0) }],
            books: vec![Book { kind: "exec".into(), seen: 12, delivered: 10, suppressed: 2, lost: 0 }],
            sinks: vec![Sink {
                name: "file".into(),
                delivered: 10,
                lost: vec![Reason { reason: "disk_full".into(), count: 2 }],
            }],
            ..Overview::default()
        }
    }

    #[test]
    fn a_healthy_agent_says_so_first_and_what_it_does() {
        let text = show(&sample(), false);
        assert!(text.starts_with("healthy  monitor "), "{text}");
        for part in [
            "up 1 d 3 h",
            "enforce mode, generation 3",
            "exec  refused  last refused 10 s ago",
            "exec  12    10         2           0",
            "2 disk_full lost",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn problems_come_right_after_the_first_line_with_what_to_do() {
        let remark = |what: &str| Remark {
            what: what.into(),
            detail: format!("{what} happened"),
            remedy: "mend it".into(),
        };
        let overview = Overview {
            healthy: false,
            problems: vec![remark("canary")],
            notes: vec![remark("old")],
            ..sample()
        };
        let text = show(&overview, false);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("UNHEALTHY"), "{text}");
        assert_eq!(
            lines[1..4],
            ["problem     canary happened", "            -> mend it", "note        old happened"]
        );
        assert!(show(&overview, true).contains("\u{1b}[1m\u{1b}[31mUNHEALTHY"));
    }

    #[test]
    fn spans_have_two_units() {
        let said = [0.0, 59.0, 61.0, 3_660.0, 90_000.0, -5.0].map(span);
        assert_eq!(said, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h", "0 s"]);
    }
}
