//! What is on the screen, without the screen.

use std::collections::HashMap;

use ratatui::widgets::TableState;

use super::{
    poll::{News, Picture},
    table::{Sort, Table},
    views,
};
use crate::overview::Overview;

/// A page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum View {
    /// Events by kind, and rules.
    #[default]
    Rates,
    /// Sources over a limit.
    Sources,
    /// Databases and who is connected.
    Databases,
    /// The last findings.
    Findings,
    /// The agent itself.
    Health,
}

impl View {
    /// All, in the order of their keys.
    pub const ALL: [Self; 5] = [Self::Rates, Self::Sources, Self::Databases, Self::Findings, Self::Health];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Rates => "Rates",
            Self::Sources => "Sources",
            Self::Databases => "Databases",
            Self::Findings => "Findings",
            Self::Health => "Health",
        }
    }

    /// The next one, or the one before.
    pub fn step(self, back: bool) -> Self {
        let step = if back { Self::ALL.len() - 1 } else { 1 };
        Self::ALL[(self as usize + step) % Self::ALL.len()]
    }
}

/// How much of each there was a second, between two pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    seconds: f64,
    before: Option<Overview>,
}

impl Rates {
    /// Between two pictures of the same agent; else there are none.
    pub fn between(before: Option<&Overview>, after: &Overview) -> Self {
        let same = before.filter(|before| before.started == after.started && before.now < after.now);
        Self { seconds: same.map_or(0.0, |before| after.now - before.now), before: same.cloned() }
    }

    /// The rate of a number that is in both. A counter that went down began anew.
    pub fn of(&self, now: u64, before: impl Fn(&Overview) -> Option<u64>) -> f64 {
        match &self.before {
            Some(overview) if self.seconds > 0.0 => {
                now.saturating_sub(before(overview).unwrap_or_default()) as f64 / self.seconds
            }
            _ => 0.0,
        }
    }
}

/// The state of the screen.
#[derive(Debug, Default)]
pub struct App {
    /// What is shown.
    pub picture: Picture,
    /// Between it and the one before.
    pub rates: Rates,
    /// What came while paused; taken over when it goes on.
    waiting: Option<Picture>,
    /// Why there is no news.
    pub trouble: Option<String>,
    /// The page.
    pub view: View,
    /// What each page is sorted by, where that was chosen.
    pub sorts: HashMap<View, Sort>,
    /// Only rows with this text.
    pub filter: String,
    /// Whether the filter is being written.
    pub editing: bool,
    /// Nothing changes meanwhile.
    pub paused: bool,
    /// Whether the keys are explained.
    pub help: bool,
    /// Whether the selected finding is shown as a whole.
    pub detail: bool,
    /// How far the detail, or the page of health, is scrolled.
    pub scroll: u16,
    /// The selected row.
    pub state: TableState,
}

impl App {
    /// Takes what the agent said.
    pub fn take(&mut self, news: News) {
        match news {
            Ok(picture) if self.paused => {
                self.trouble = None;
                self.waiting = Some(picture);
            }
            Ok(picture) => {
                self.trouble = None;
                self.show(picture);
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    fn show(&mut self, picture: Picture) {
        self.rates = Rates::between(Some(&self.picture.overview), &picture.overview);
        // What is read in detail stays the same, though newer ones come before it.
        let selected = self.selected_finding().cloned();
        self.picture = picture;
        if self.view == View::Findings
            && let Some(finding) = selected
        {
            let place = self.picture.findings.iter().position(|other| *other == finding);
            let shown = self.table();
            let row = place.and_then(|place| shown.rows.iter().position(|(index, _)| *index == place));
            self.state.select(row.or_else(|| self.state.selected()));
        }
    }

    /// Stops, or goes on with what came meanwhile.
    pub fn pause(&mut self) {
        self.paused = !self.paused;
        if !self.paused
            && let Some(picture) = self.waiting.take()
        {
            self.show(picture);
        }
    }

    /// The table of the page as it is shown: sorted and filtered.
    pub fn table(&self) -> Table {
        let mut table = views::table(self.view, &self.picture, &self.rates);
        table.filter(&self.filter);
        if let Some(sort) = self.sorts.get(&self.view) {
            table.sort(*sort);
        }
        table
    }

    /// Sorts by the next column, or by none after the last.
    pub fn sort_next(&mut self) {
        let columns = self.table().columns.len();
        let sort = match self.sorts.get(&self.view) {
            None => Some(Sort { column: 0, down: false }),
            Some(sort) if sort.column + 1 < columns => {
                let column = sort.column + 1;
                Some(Sort { column, down: self.table().columns[column].right })
            }
            Some(_) => None,
        };
        match sort {
            Some(sort) => self.sorts.insert(self.view, sort),
            None => self.sorts.remove(&self.view),
        };
    }

    /// The other way round.
    pub fn reverse(&mut self) {
        let sort = self.sorts.entry(self.view).or_insert(Sort { column: 0, down: false });
        sort.down = !sort.down;
    }

    /// The finding that is selected.
    pub fn selected_finding(&self) -> Option<&crate::control::status::Finding> {
        if self.view != View::Findings {
            return None;
        }
        let table = self.table();
        let (index, _) = table.rows.get(self.state.selected()?)?;
        self.picture.findings.get(*index)
    }

    /// Goes to another page.
    pub fn go(&mut self, view: View) {
        self.view = view;
        (self.detail, self.scroll) = (false, 0);
        self.state = TableState::default();
    }
}
