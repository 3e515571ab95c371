//! The tables of the pages.

use super::{
    app::{Rates, View},
    poll::Picture,
    table::{Cell, Column, Table, numbers, words},
};
use crate::{commands::status::span, overview::Overview};

const KINDS: &[Column] = &[
    words("KIND", 8),
    numbers("SEEN/S", 7),
    numbers("DELIV/S", 7),
    numbers("SUPPR/S", 7),
    numbers("LOST/S", 7),
    numbers("SEEN", 8),
    numbers("LOST", 8),
];
const RULES: &[Column] =
    &[words("RULE", 0), words("KIND", 12), words("VERDICT", 12), numbers("RATE/S", 8), numbers("COUNT", 8)];
const LIMITS: &[Column] = &[
    words("LIMIT", 0),
    words("MODE", 8),
    numbers("PASS/S", 8),
    numbers("OVER/S", 8),
    numbers("SOURCES", 8),
    numbers("PENALTIES", 9),
];
const SOURCES: &[Column] = &[
    words("SOURCE", 22),
    words("RULE", 10),
    numbers("OVER", 6),
    words("LAST", 8),
    words("PENALTY", 9),
    numbers("STRIKES", 7),
    words("LIMIT", 0),
];
const DATABASES: &[Column] = &[
    words("DATABASE", 12),
    words("SIDE", 6),
    words("WORKLOAD", 0),
    numbers("OPEN", 6),
    numbers("ALLOW/S", 7),
    numbers("REFUSED", 7),
    numbers("WOULD", 6),
    numbers("RECEIVED", 8),
    numbers("SENT", 8),
];
const FINDINGS: &[Column] =
    &[words("TIME", 8), words("KIND", 7), words("VERDICT", 11), words("RULE", 14), words("WHAT", 0)];

/// The table of a page that rows are selected in.
pub fn table(view: View, picture: &Picture, rates: &Rates) -> Table {
    let overview = &picture.overview;
    match view {
        View::Rates | View::Health => kinds(overview, rates),
        View::Sources => sources(overview),
        View::Databases => databases(overview, rates),
        View::Findings => findings(picture),
    }
}

/// All, with their names.
pub fn tables(picture: &Picture, rates: &Rates) -> Vec<(&'static str, Table)> {
    let overview = &picture.overview;
    vec![
        ("rates", kinds(overview, rates)),
        ("rules", rules(overview, rates)),
        ("limits", limits(overview, rates)),
        ("sources", sources(overview)),
        ("databases", databases(overview, rates)),
    ]
}

/// Events by kind.
fn kinds(overview: &Overview, rates: &Rates) -> Table {
    let rows = overview.books.iter().map(|book| {
        let before = |overview: &Overview| overview.books.iter().find(|old| old.kind == book.kind).cloned();
        vec![
            Cell::text(&*book.kind),
            Cell::rate(rates.of(book.seen, |old| before(old).map(|old| old.seen))),
            Cell::rate(rates.of(book.delivered, |old| before(old).map(|old| old.delivered))),
            Cell::rate(rates.of(book.suppressed, |old| before(old).map(|old| old.suppressed))),
            Cell::rate(rates.of(book.lost, |old| before(old).map(|old| old.lost))),
            Cell::count(book.seen),
            Cell::count(book.lost),
        ]
    });
    Table::new(KINDS, rows)
}

/// What rules decided.
pub fn rules(overview: &Overview, rates: &Rates) -> Table {
    let rows = overview.rules.iter().map(|rule| {
        let same = |old: &crate::overview::Rule| {
            (&old.rule, &old.kind, &old.verdict, &old.mode)
                == (&rule.rule, &rule.kind, &rule.verdict, &rule.mode)
        };
        let before = |old: &Overview| old.rules.iter().find(|old| same(old)).map(|old| old.count);
        vec![
            Cell::foreign(&rule.rule),
            Cell::text(&*rule.kind),
            Cell::text(verdict(&rule.verdict, &rule.mode)),
            Cell::rate(rates.of(rule.count, before)),
            Cell::count(rule.count),
        ]
    });
    Table::new(RULES, rows)
}

/// What rate limits do.
pub fn limits(overview: &Overview, rates: &Rates) -> Table {
    let rows = overview.limits.iter().map(|limit| {
        let before = |old: &Overview| old.limits.iter().find(|old| old.rule == limit.rule).cloned();
        vec![
            Cell::foreign(&limit.rule),
            Cell::text(&*limit.mode),
            Cell::rate(rates.of(limit.passed, |old| before(old).map(|old| old.passed))),
            Cell::rate(rates.of(limit.dropped, |old| before(old).map(|old| old.dropped))),
            Cell::count(limit.tracked),
            Cell::count(limit.penalties),
        ]
    });
    Table::new(LIMITS, rows)
}

fn sources(overview: &Overview) -> Table {
    let rows = overview.sources.iter().map(|source| {
        let ago = (overview.now - source.last as f64).max(0.0);
        let left = source.penalty_until.map(|until| (until as f64 - overview.now).max(0.0));
        vec![
            Cell::text(&*source.source),
            Cell::foreign(&source.rule),
            Cell::count(source.over),
            Cell::sorted(format!("-{}", brief(ago)), ago),
            Cell::sorted(
                left.map_or_else(|| "-".to_owned(), |left| format!("{} left", brief(left))),
                left.unwrap_or(0.0),
            ),
            Cell::count(source.strikes.into()),
            Cell::foreign(source.limit.trim_start_matches("more than ")),
        ]
    });
    Table::new(SOURCES, rows)
}

/// Seconds in at most four letters.
fn brief(seconds: f64) -> String {
    match seconds as u64 {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

fn databases(overview: &Overview, rates: &Rates) -> Table {
    let rows = overview.databases.iter().map(|row| {
        let same = |old: &crate::overview::Database| {
            (&old.database, &old.direction, &old.workload) == (&row.database, &row.direction, &row.workload)
        };
        let before = |old: &Overview| old.databases.iter().find(|old| same(old)).map(|old| old.allowed);
        vec![
            Cell::foreign(&row.database),
            Cell::text(&*row.direction),
            row.workload.as_deref().map_or_else(|| Cell::text("(none)"), Cell::foreign),
            Cell::count(row.open),
            Cell::rate(rates.of(row.allowed, before)),
            Cell::count(row.refused),
            Cell::count(row.would_refuse),
            Cell::count(row.received),
            Cell::count(row.sent),
        ]
    });
    Table::new(DATABASES, rows)
}

fn findings(picture: &Picture) -> Table {
    let rows = picture.findings.iter().map(|finding| {
        let time = finding.time.get(11..19).unwrap_or(&finding.time);
        vec![
            Cell::text(time),
            Cell::text(&*finding.kind),
            Cell::text(verdict(&finding.verdict, &finding.mode)),
            Cell::foreign(&finding.rule),
            Cell::foreign(&finding.what),
        ]
    });
    Table::new(FINDINGS, rows)
}

/// `DENY`, or `would deny` where nothing is carried out.
fn verdict(verdict: &str, mode: &str) -> String {
    if mode == "observe" { format!("would {verdict}") } else { verdict.to_uppercase() }
}

/// The first line of the screen.
pub fn title(overview: &Overview) -> String {
    let policy = overview.policy.as_ref();
    let policy = policy.map_or_else(
        || "no policy".to_owned(),
        |policy| format!("{} mode, generation {}", policy.mode, policy.generation),
    );
    let up = span(overview.now - overview.started);
    format!("{} | {policy} | up {up}", crate::render::sentence(&overview.host))
}
