//! The page. The templates escape everything that is put into them.

use maud::{DOCTYPE, Markup, html};

use super::parts::{bytes, count, empty, figure, number, pill, table, verdict};
use crate::{
    commands::status::span,
    control::status::Finding,
    overview::{Overview, Remark},
};

/// Sections, in order: id and title.
const SECTIONS: [(&str, &str); 6] = [
    ("overview", "Overview"),
    ("findings", "Findings"),
    ("databases", "Databases"),
    ("limits", "Rate limits"),
    ("capabilities", "Enforcement"),
    ("books", "Books and sinks"),
];

/// The whole page.
pub(super) fn page(overview: &Overview, findings: &[Finding]) -> Markup {
    let state = if overview.healthy { "healthy" } else { "unhealthy" };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                noscript { meta http-equiv="refresh" content="10"; }
                title { (state) " - monitor on " (overview.host) }
                link rel="stylesheet" href="/web.css";
                script src="/web.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    h1 { "monitor" span.host { (overview.host) } }
                    nav aria-label="Sections" {
                        ul { @for (id, title) in SECTIONS { li { a href={ "#" (id) } { (title) } } } }
                    }
                    p.live { button #pause type="button" hidden { "Pause updates" } span #age role="status" {} }
                }
                main #main tabindex="-1" {
                    (summary(overview))
                    (self::findings(findings))
                    (databases(overview))
                    (limits(overview))
                    (capabilities(overview))
                    (books(overview))
                }
                footer { p { "monitor " (overview.version) ", read-only. " a href="/metrics" { "Metrics" } } }
            }
        }
    }
}

fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            (content)
        }
    }
}

fn remarks(kind: &str, remarks: &[Remark]) -> Markup {
    html! {
        @for remark in remarks {
            li class=(kind) { strong { (remark.detail) } " " span.remedy { (remark.remedy) } }
        }
    }
}

fn summary(overview: &Overview) -> Markup {
    let policy = overview.policy.clone().unwrap_or_default();
    let lost: u64 = overview.books.iter().map(|book| book.lost).sum();
    let seen: u64 = overview.books.iter().map(|book| book.seen).sum();
    let open: u64 = overview.databases.iter().map(|row| row.open).sum();
    let decided: u64 = overview.rules.iter().map(|rule| rule.count).sum();
    let content = html! {
        p.state {
            @if overview.healthy { (pill("good", "healthy")) } @else { (pill("bad", "unhealthy")) }
            " " (pill(if policy.mode == "enforce" { "good" } else { "so-so" }, &format!("{} mode", policy.mode)))
            " kernel " (overview.kernel) ", up " (span(overview.now - overview.started))
            ", policy generation " (policy.generation) ", SHA-256 "
            code title=(policy.sha256) { (policy.sha256.get(..12).unwrap_or_default()) }
        }
        @if !overview.problems.is_empty() || !overview.notes.is_empty() {
            ul.remarks { (remarks("problem", &overview.problems)) (remarks("note", &overview.notes)) }
        }
        dl.figures {
            (figure("Events seen", &count(seen), "since the programs were loaded"))
            (figure("Rule decisions", &count(decided), "other than to allow"))
            (figure("Events lost", &count(lost), if lost == 0 { "the books balance" } else { "see the books" }))
            (figure("Database connections", &count(open), "open now"))
            (figure("Sources over a limit", &count(overview.sources.len() as u64), "of late, or with a penalty"))
            (figure("Memory", &bytes(overview.usage.resident_bytes), "of the agent"))
        }
        (table("What rules decided", &["Rule", "Kind", "Verdict", "#Times"], "No rule decided anything but to allow.",
            overview.rules.iter().map(|rule| html! {
                th scope="row" { (rule.rule) } td { (rule.kind) } td { (verdict(&rule.verdict, &rule.mode)) }
                (number(rule.count))
            })))
    };
    section("overview", "Overview", &content)
}

fn findings(findings: &[Finding]) -> Markup {
    let content = html! {
        @if findings.is_empty() { (empty("There were no findings since the agent was started.")) }
        ol.findings {
            @for finding in findings {
                li {
                    // The key tells the script which ones are open.
                    details data-key={ (finding.time) (finding.what) } {
                        summary {
                            time datetime=(finding.time) { (finding.time.get(11..19).unwrap_or(&finding.time)) }
                            " " span.kind { (finding.kind) } " " (verdict(&finding.verdict, &finding.mode)) " "
                            span.rule { (finding.rule) } " " span.what { (finding.what) }
                        }
                        p.why { (finding.why) }
                        pre tabindex="0" { (serde_json::to_string_pretty(&finding.record).unwrap_or_default()) }
                    }
                }
            }
        }
    };
    section("findings", "Findings", &content)
}

fn databases(overview: &Overview) -> Markup {
    let heads = [
        "Database",
        "Side",
        "Workload",
        "#Open",
        "#Allowed",
        "#Refused",
        "#Would refuse",
        "#Received",
        "#Sent",
    ];
    let content = table(
        "Databases and who is connected",
        &heads,
        "No rule speaks of a database, or nobody asked for one.",
        overview.databases.iter().map(|row| {
            html! {
                th scope="row" { (row.database) }
                td { (row.direction) }
                td { @match &row.workload { Some(name) => (name), None => em { "none" } } }
                (number(row.open)) (number(row.allowed)) (number(row.refused)) (number(row.would_refuse))
                td.number { (bytes(row.received)) } td.number { (bytes(row.sent)) }
            }
        }),
    );
    section("databases", "Databases", &content)
}

fn limits(overview: &Overview) -> Markup {
    let heads = ["Limit", "Mode", "#Passed", "#Over", "#Sources", "#Penalties"];
    let rules = table(
        "Rate limits",
        &heads,
        "The policy has no rate limit, so no interface is touched.",
        overview.limits.iter().map(|limit| {
            html! {
                th scope="row" { (limit.rule) } td { (limit.mode) }
                (number(limit.passed)) (number(limit.dropped)) (number(limit.tracked)) (number(limit.penalties))
            }
        }),
    );
    let heads = ["Source", "Limit", "What it may send", "#Over", "#Ago", "#Penalty", "#Strikes"];
    let sources = table(
        "Sources over a limit, or with a penalty",
        &heads,
        "No source went over a limit of late.",
        overview.sources.iter().map(|source| {
            let left = source.penalty_until.map(|until| span(until as f64 - overview.now));
            html! {
                th scope="row" { (source.source) } td { (source.rule) } td { (source.limit) }
                (number(source.over))
                td.number { (span(overview.now - source.last as f64)) }
                td.number { @match left { Some(left) => { (left) " left" }, None => "-" } }
                (number(source.strikes.into()))
            }
        }),
    );
    section("limits", "Rate limits", &html! { (rules) (sources) })
}

fn capabilities(overview: &Overview) -> Markup {
    let capable = table(
        "What this kernel can do for the policy",
        &["Feature", "State", "Reason"],
        "Nothing was tried: no rule needs anything.",
        overview.capabilities.iter().map(|row| {
            let class = match &*row.state {
                "enforced" | "available" => "good",
                "fallback" => "so-so",
                _ => "bad",
            };
            html! { th scope="row" { (row.feature) } td { (pill(class, &row.state)) } td { (row.reason) } }
        }),
    );
    let canaries = table(
        "Canaries: refusals that the agent provokes",
        &["Way", "The last one was", "#Last refused"],
        "No rule enforces anything.",
        overview.canaries.iter().map(|canary| {
            let last = canary.last_success.map(|at| span(overview.now - at));
            html! {
                th scope="row" { (canary.path) }
                td { @if canary.live { (pill("good", "refused")) } @else { (pill("bad", "passed")) } }
                td.number { @match last { Some(last) => { (last) " ago" }, None => "never" } }
            }
        }),
    );
    let interfaces = table(
        "Interfaces whose packets are watched",
        &["Interface", "Attached"],
        "None.",
        overview.interfaces.iter().map(|row| html! { th scope="row" { (row.name) } td { (row.mode) } }),
    );
    section("capabilities", "Enforcement", &html! { (capable) (canaries) (interfaces) })
}

fn books(overview: &Overview) -> Markup {
    let books = table(
        "Events: seen is delivered, suppressed and lost together",
        &["Kind", "#Seen", "#Delivered", "#Suppressed", "#Lost"],
        "Nothing was seen.",
        overview.books.iter().map(|book| {
            html! {
                th scope="row" { (book.kind) }
                (number(book.seen)) (number(book.delivered)) (number(book.suppressed)) (number(book.lost))
            }
        }),
    );
    let sinks = table(
        "Where findings go",
        &["Sink", "#Written", "Lost"],
        "There is no sink.",
        overview.sinks.iter().map(|sink| {
            let lost: Vec<_> =
                sink.lost.iter().map(|lost| format!("{} ({})", lost.count, lost.reason)).collect();
            html! {
                th scope="row" { (sink.name) } (number(sink.delivered))
                td { @if lost.is_empty() { "0" } @else { (lost.join(", ")) } }
            }
        }),
    );
    section("books", "Books and sinks", &html! { (books) (sinks) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::{Database, Rule, Source};

    const EVIL: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";

    #[test]
    fn whatever_others_chose_is_text() {
        let evil = || EVIL.to_owned();
        let overview = Overview {
            host: evil(),
            problems: vec![Remark { detail: evil(), remedy: evil(), ..Remark::default() }],
            rules: vec![Rule { rule: evil(), ..Rule::default() }],
            databases: vec![Database { database: evil(), workload: Some(evil()), ..Database::default() }],
            sources: vec![Source { source: evil(), rule: evil(), limit: evil(), ..Source::default() }],
            ..Overview::default()
        };
        let finding = Finding {
            time: evil(),
            rule: evil(),
            why: evil(),
            what: evil(),
            record: serde_json::json!({ "comm": EVIL }),
            ..Finding::default()
        };
        let page = page(&overview, &[finding]).into_string();
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
        assert!(!page.contains("\"'&<"), "an attribute can be left: {page}");
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.matches("&lt;script&gt;").count() >= 10);
    }

    #[test]
    fn every_section_is_there_and_can_be_reached() {
        let page = page(&Overview::default(), &[]).into_string();
        for (id, _) in SECTIONS {
            assert!(page.contains(&format!("<section id=\"{id}\"")), "{id}");
            assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
        }
        for outside in ["http://", "https://", "//", "style=", "onclick", "<style"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
