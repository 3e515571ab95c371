//! What keys do.

use std::ops::ControlFlow;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, View};

/// Rows of a page that is turned.
const PAGE: u16 = 10;

/// The keys, for the help.
pub const HELP: &[(&str, &str)] = &[
    ("1 to 5, Tab, arrows", "another page"),
    ("Up, Down, j, k, PgUp, PgDn", "select a row, or scroll"),
    ("Enter", "all of the selected finding; again to close"),
    ("s", "sort by the next column; after the last, as it comes"),
    ("r", "sort the other way round"),
    ("/", "show only rows with a text; Enter ends, Esc removes it"),
    ("Space, p", "pause, and go on"),
    ("?, h", "this help"),
    ("q, Esc, Ctrl-C", "leave"),
];

/// A key was pressed. Breaks when the user wants to leave.
pub fn press(app: &mut App, key: KeyEvent) -> ControlFlow<()> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return if matches!(key.code, KeyCode::Char('c')) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        };
    }
    if app.editing {
        edit(app, key.code);
        return ControlFlow::Continue(());
    }
    if app.help {
        app.help = false;
        return ControlFlow::Continue(());
    }
    match key.code {
        KeyCode::Char('q') => return ControlFlow::Break(()),
        KeyCode::Esc if app.detail => app.detail = false,
        KeyCode::Esc if !app.filter.is_empty() => app.filter.clear(),
        KeyCode::Esc => return ControlFlow::Break(()),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => app.help = true,
        KeyCode::Char(' ' | 'p') => app.pause(),
        KeyCode::Char('/') => app.editing = true,
        KeyCode::Char('s') => app.sort_next(),
        KeyCode::Char('r') => app.reverse(),
        KeyCode::Char(digit @ '1'..='5') => app.go(View::ALL[digit as usize - '1' as usize]),
        KeyCode::Tab | KeyCode::Right => app.go(app.view.step(false)),
        KeyCode::BackTab | KeyCode::Left => app.go(app.view.step(true)),
        KeyCode::Enter => {
            app.detail = !app.detail && app.selected_finding().is_some();
            app.scroll = 0;
        }
        KeyCode::Down | KeyCode::Char('j') => down(app, 1),
        KeyCode::Up | KeyCode::Char('k') => up(app, 1),
        KeyCode::PageDown => down(app, PAGE),
        KeyCode::PageUp => up(app, PAGE),
        KeyCode::Home => up(app, u16::MAX),
        _ => {}
    }
    ControlFlow::Continue(())
}

fn scrolls(app: &App) -> bool {
    app.detail || app.view == View::Health
}

fn down(app: &mut App, rows: u16) {
    if scrolls(app) {
        app.scroll = app.scroll.saturating_add(rows);
        return;
    }
    let last = app.table().rows.len().saturating_sub(1);
    let next = app.state.selected().map_or(0, |row| row.saturating_add(rows.into()));
    app.state.select(Some(next.min(last)));
}

fn up(app: &mut App, rows: u16) {
    if scrolls(app) {
        app.scroll = app.scroll.saturating_sub(rows);
        return;
    }
    let next = app.state.selected().unwrap_or(0).saturating_sub(rows.into());
    app.state.select(Some(next));
}

fn edit(app: &mut App, code: KeyCode) {
    match code {
        KeyCode::Enter => app.editing = false,
        KeyCode::Esc => {
            app.editing = false;
            app.filter.clear();
        }
        KeyCode::Backspace => drop(app.filter.pop()),
        KeyCode::Char(letter) if !letter.is_control() && app.filter.len() < 64 => app.filter.push(letter),
        _ => {}
    }
}
