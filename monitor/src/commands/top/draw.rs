//! Puts the state on the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Tabs, Wrap},
};

use super::{
    app::{App, View},
    keys,
    table::{self, Sort},
    views,
};
use crate::commands::status;

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD).fg(Color::Cyan);
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws everything.
pub fn draw(frame: &mut Frame, app: &mut App) {
    let [top, tabs, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title(app), top);
    frame.render_widget(titles(app), tabs);
    match app.view {
        View::Rates => rates(frame, app, body),
        View::Sources => sources(frame, app, body),
        View::Databases => main_table(frame, app, body, "Databases, and who is connected"),
        View::Findings => findings(frame, app, body),
        View::Health => health(frame, app, body),
    }
    frame.render_widget(footer(app), bottom);
    if app.help {
        help(frame, body);
    }
}

fn title(app: &App) -> Line<'static> {
    let overview = &app.picture.overview;
    let state = match (&app.trouble, overview.healthy) {
        (Some(_), _) => Span::raw(" NO ANSWER ").white().on_red().bold(),
        (None, true) => Span::raw(" healthy ").black().on_green(),
        (None, false) => Span::raw(" UNHEALTHY ").white().on_red().bold(),
    };
    let mut spans =
        vec![Span::raw("monitor ").bold(), state, Span::raw(format!(" {}", views::title(overview)))];
    if app.paused {
        spans.insert(1, Span::raw(" PAUSED ").black().on_yellow());
    }
    Line::from(spans)
}

fn titles(app: &App) -> Tabs<'static> {
    let title = |(number, view): (usize, &View)| format!("{} {}", number + 1, view.title());
    Tabs::new(View::ALL.iter().enumerate().map(title))
        .select(app.view as usize)
        .highlight_style(SELECTED)
        .divider("|")
}

fn footer(app: &App) -> Line<'static> {
    if app.editing {
        return Line::from(format!("/{}_   (Enter: done, Esc: remove)", app.filter)).yellow();
    }
    if let Some(trouble) = &app.trouble {
        return Line::from(format!("{trouble}; trying again")).red();
    }
    let filter = if app.filter.is_empty() { String::new() } else { format!(" filter: {} |", app.filter) };
    Line::from(format!("{filter} q leave  ? help  / filter  s sort  r reverse  Space pause  Enter detail"))
        .dim()
}

fn widget(table: &table::Table, sort: Option<Sort>, title: String) -> Table<'static> {
    let align = |text: String, column: &table::Column| {
        let line = Line::from(text);
        if column.right { line.right_aligned() } else { line }
    };
    let heads = table.columns.iter().enumerate().map(|(index, column)| {
        let mark = match sort {
            Some(Sort { column, down }) if column == index => {
                if down {
                    "v"
                } else {
                    "^"
                }
            }
            _ => "",
        };
        Cell::from(align(format!("{}{mark}", column.name), column))
    });
    let rows = table.rows.iter().map(|(_, cells)| {
        let cells = cells.iter().zip(table.columns);
        Row::new(
            cells
                .map(|(cell, column)| Cell::from(align(cell.text.clone(), column)).style(colour(&cell.text))),
        )
    });
    let widths = table.columns.iter().map(|column| match column.width {
        0 => Constraint::Min(10),
        width => Constraint::Length(width),
    });
    Table::new(rows, widths)
        .header(Row::new(heads).style(HEAD))
        .block(Block::bordered().title(title))
        .row_highlight_style(SELECTED)
}

/// What was carried out is red, what would have been yellow.
fn colour(text: &str) -> Style {
    match text {
        "DENY" | "KILL" | "DROP" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        _ if text.starts_with("would ") => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn main_table(frame: &mut Frame, app: &mut App, area: Rect, title: &str) {
    let table = app.table();
    let title = format!(" {title} ({}) ", table.rows.len());
    if app.state.selected().is_some_and(|row| row >= table.rows.len()) {
        app.state.select(table.rows.len().checked_sub(1));
    }
    let sort = app.sorts.get(&app.view).copied();
    frame.render_stateful_widget(widget(&table, sort, title), area, &mut app.state);
}

fn rates(frame: &mut Frame, app: &mut App, area: Rect) {
    let kinds = app.picture.overview.books.len() as u16 + 3;
    let [above, below] = Layout::vertical([Constraint::Max(kinds), Constraint::Min(5)]).areas(area);
    main_table(frame, app, above, "Events by kind");
    let mut rules = views::rules(&app.picture.overview, &app.rates);
    rules.sort(Sort { column: 4, down: true });
    rules.sort(Sort { column: 3, down: true });
    let title = format!(" What rules decided ({}) ", rules.rows.len());
    frame.render_stateful_widget(widget(&rules, None, title), below, &mut TableState::default());
}

fn sources(frame: &mut Frame, app: &mut App, area: Rect) {
    let limits = views::limits(&app.picture.overview, &app.rates);
    let height = (limits.rows.len() as u16).clamp(1, 6) + 3;
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Min(5)]).areas(area);
    let widget = widget(&limits, None, format!(" Rate limits ({}) ", limits.rows.len()));
    frame.render_stateful_widget(widget, above, &mut TableState::default());
    main_table(frame, app, below, "Sources over a limit, or with a penalty");
}

fn findings(frame: &mut Frame, app: &mut App, area: Rect) {
    let Some(finding) = app.selected_finding().filter(|_| app.detail).cloned() else {
        return main_table(frame, app, area, "The last findings");
    };
    let [above, below] = Layout::vertical([Constraint::Percentage(35), Constraint::Min(8)]).areas(area);
    main_table(frame, app, above, "The last findings");
    let mut lines =
        vec![Line::from(finding.why.clone()).bold(), Line::from(finding.what.clone()), Line::default()];
    let mut fields = Vec::new();
    flatten("", &finding.record, &mut fields);
    lines.extend(
        fields
            .into_iter()
            .map(|(name, value)| Line::from(vec![Span::styled(name, HEAD), ": ".into(), value.into()])),
    );
    scrolled(frame, app, below, lines, " Detail: up and down scroll, Enter closes ".to_owned());
}

/// Every value of an object with the names that lead to it.
fn flatten(path: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        serde_json::Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            out.push((path.to_owned(), items.join(" ")));
        }
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, out);
            }
        }
        other => out.push((path.to_owned(), plain(other))),
    }
}

/// Texts in records are escaped already; that they are is seen to once more.
fn plain(value: &serde_json::Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    crate::render::sentence(&text).into_owned()
}

fn scrolled(frame: &mut Frame, app: &mut App, area: Rect, lines: Vec<Line<'static>>, title: String) {
    // Not beyond the last line. Words that are moved to the next line make it one more now and then.
    let inner = usize::from(area.width.saturating_sub(2)).max(1);
    let height: usize = lines.iter().map(|line| line.width().div_ceil(inner).max(1)).sum();
    let spare = height.saturating_sub(area.height.saturating_sub(2).into());
    app.scroll = app.scroll.min(u16::try_from(spare).unwrap_or(u16::MAX));
    let paragraph = Paragraph::new(lines).wrap(Wrap { trim: false });
    let paragraph = paragraph.scroll((app.scroll, 0)).block(Block::bordered().title(title));
    frame.render_widget(paragraph, area);
}

fn health(frame: &mut Frame, app: &mut App, area: Rect) {
    let text = status::show(&app.picture.overview, false);
    let style = |line: &str| match line.split_whitespace().next() {
        Some("problem" | "UNHEALTHY") => Style::new().fg(Color::Red),
        Some("note") => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    };
    let lines = text.lines().map(|line| Line::styled(line.to_owned(), style(line))).collect();
    scrolled(frame, app, area, lines, " The agent ".to_owned());
}

fn help(frame: &mut Frame, area: Rect) {
    let width = keys::HELP.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let line = |(key, does): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!(" {key:<width$}  "), HEAD), Span::raw(*does)])
    };
    let lines: Vec<_> = keys::HELP.iter().map(line).collect();
    let [area] = Layout::vertical([Constraint::Length(lines.len() as u16 + 2)]).areas(area);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Keys: any key closes ")), area);
}
