//! What each page shows at 80x24, and what keys do.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{
    app::{App, View},
    draw, keys,
    poll::Picture,
};
use crate::{
    control::status::Finding,
    overview::{Book, Canary, Database, Limit, Overview, Policy, Remark, Rule, Source},
};

fn picture(now: f64) -> Picture {
    let seen = (now * 10.0) as u64;
    let book = |kind: &str, seen, lost| Book {
        kind: kind.into(),
        seen,
        delivered: seen - lost,
        lost,
        ..Book::default()
    };
    let source = |source: &str, over, last, until| Source {
        source: source.into(),
        rule: "https".into(),
        limit: "more than 50 connections/s".into(),
        over,
        last,
        penalty_until: until,
        strikes: u32::from(until.is_some()),
        ..Source::default()
    };
    let database = |workload: Option<&str>, open, refused| Database {
        database: "orders".into(),
        direction: "client".into(),
        workload: workload.map(str::to_owned),
        open,
        refused,
        allowed: seen,
        received: 123_456_789,
        ..Database::default()
    };
    let finding = |kind: &str, verdict: &str, mode: &str, what: &str| Finding {
        time: "2026-11-23T17:40:32.000Z".into(),
        kind: kind.into(),
        rule: "orders".into(),
        verdict: verdict.into(),
        mode: mode.into(),
        why: "only api may connect".into(),
        what: what.into(),
        record: serde_json::json!({"kind": kind, "subject": {"pid": 4243, "args": ["psql", "-h"]}}),
    };
    let overview = Overview {
        version: "0".into(),
        host: "db7".into(),
        kernel: "6.18".into(),
        started: 100.0,
        now,
        pid: 7,
        healthy: false,
        problems: vec![Remark {
            what: "canary".into(),
            detail: "what connect rules refuse isn't refused".into(),
            remedy: "restart it".into(),
        }],
        policy: Some(Policy { sha256: "ab".repeat(32), generation: 3, mode: "enforce".into() }),
        canaries: vec![Canary { path: "connect".into(), live: false, last_success: Some(900.0) }],
        books: vec![book("exec", seen, 0), book("connect", 7, 2), book("limit", 0, 0)],
        rules: vec![Rule {
            rule: "orders".into(),
            kind: "database".into(),
            verdict: "deny".into(),
            mode: "enforce".into(),
            count: 12,
        }],
        limits: vec![Limit {
            rule: "https".into(),
            mode: "enforce".into(),
            passed: seen,
            ..Limit::default()
        }],
        sources: vec![source("192.0.2.7", 17, 990, Some(1_300)), source("2001:db8:1:2::/64", 3, 400, None)],
        databases: vec![database(Some("api"), 12, 0), database(None, 0, 3)],
        ..Overview::default()
    };
    let findings = vec![
        finding(
            "connect",
            "deny",
            "enforce",
            "psql[4243] /usr/bin/psql in cron.service -> 10.0.0.1:5432/tcp",
        ),
        finding("exec", "alert", "observe", "evil\u{1b}[2J[9] -> /tmp/x"),
    ];
    Picture { overview, findings }
}

fn app() -> App {
    let mut app = App::default();
    app.take(Ok(picture(1_000.0)));
    app.take(Ok(picture(1_002.0)));
    app
}

fn screen(app: &mut App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw::draw(frame, app)).unwrap();
    terminal.backend().to_string()
}

fn press(app: &mut App, codes: &[KeyCode]) {
    for code in codes {
        assert!(keys::press(app, KeyEvent::new(*code, KeyModifiers::NONE)).is_continue(), "{code:?}");
    }
}

#[test]
fn each_page_at_80x24() {
    let mut app = app();
    for view in View::ALL {
        app.go(view);
        insta::assert_snapshot!(format!("{view:?}").to_lowercase(), screen(&mut app));
    }
    press(&mut app, &[KeyCode::Char('4'), KeyCode::Down, KeyCode::Enter]);
    insta::assert_snapshot!("detail", screen(&mut app));
    press(&mut app, &[KeyCode::Char('?')]);
    insta::assert_snapshot!("help", screen(&mut app));
}

#[test]
fn rates_are_the_difference_of_two_pictures() {
    let mut app = app();
    let table = app.table();
    assert_eq!((table.rows[0].1[1].number, table.rows[1].1[1].number), (Some(10.0), Some(0.0)));
    // Another agent, with counters that began anew.
    let mut other = picture(1_004.0);
    other.overview.started = 1_003.0;
    app.take(Ok(other));
    assert_eq!(app.table().rows[0].1[1].number, Some(0.0));
}

#[test]
fn a_filter_is_written_and_removed() {
    let mut app = app();
    press(
        &mut app,
        &[KeyCode::Char('3'), KeyCode::Char('/'), KeyCode::Char('a'), KeyCode::Char('p'), KeyCode::Char('q')],
    );
    assert_eq!(app.table().rows.len(), 0);
    press(&mut app, &[KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(app.table().rows.len(), 1);
    assert!(screen(&mut app).contains("filter: ap |"));
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.table().rows.len(), 2);
    let esc = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
    assert!(keys::press(&mut app, esc).is_break());
}

#[test]
fn rows_are_sorted_by_the_next_column_and_the_other_way_round() {
    let mut app = app();
    let first = |app: &App| app.table().rows[0].1[0].text.clone();
    press(&mut app, &[KeyCode::Char('2'), KeyCode::Char('s')]);
    assert_eq!(first(&app), "192.0.2.7");
    press(&mut app, &[KeyCode::Char('r')]);
    assert_eq!(first(&app), "2001:db8:1:2::/64");
    press(&mut app, &[KeyCode::Char('s'), KeyCode::Char('s')]);
    assert_eq!(first(&app), "192.0.2.7");
    assert!(screen(&mut app).contains("OVERv"));
}

#[test]
fn while_paused_nothing_changes_and_then_the_newest_comes() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char(' ')]);
    app.take(Ok(picture(1_004.0)));
    assert_eq!(app.picture.overview.now, 1_002.0);
    assert!(screen(&mut app).contains("PAUSED"));
    press(&mut app, &[KeyCode::Char(' ')]);
    assert_eq!(app.picture.overview.now, 1_004.0);
}

#[test]
fn that_the_agent_does_not_answer_is_said() {
    let mut app = app();
    app.take(Err("no agent runs here".into()));
    let shown = screen(&mut app);
    assert!(shown.contains("NO ANSWER") && shown.contains("no agent runs here; trying again"), "{shown}");
}

#[test]
fn no_screen_is_too_small() {
    for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
        let mut app = app();
        for view in View::ALL {
            app.go(view);
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw::draw(frame, &mut app)).unwrap();
        }
    }
}
