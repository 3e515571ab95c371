//! Tables that can be sorted by any column and filtered by any text, whatever is in them.

use std::cmp::Ordering;

/// A cell: what is shown, and what it is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What it is sorted by, if not the text.
    pub number: Option<f64>,
}

impl Cell {
    /// Text, as it is. Whose text it is must have been escaped before.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None }
    }

    /// Somebody else's text.
    pub fn foreign(text: &str) -> Self {
        Self::text(crate::render::sentence(text))
    }

    /// A count.
    pub fn count(count: u64) -> Self {
        // Exact below 2^53.
        Self { text: short(count as f64), number: Some(count as f64) }
    }

    /// So many each second.
    pub fn rate(rate: f64) -> Self {
        Self { text: short(rate), number: Some(rate) }
    }

    /// Text that is sorted by a number.
    pub fn sorted(text: impl Into<String>, number: f64) -> Self {
        Self { text: text.into(), number: Some(number) }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => a.is_some().cmp(&b.is_some()).then_with(|| self.text.cmp(&other.text)),
        }
    }
}

/// A number in at most six letters.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e13 => format!("{:.0}T", n / 1e12),
        n if n >= 1e10 => format!("{:.0}G", n / 1e9),
        n if n >= 1e7 => format!("{:.0}M", n / 1e6),
        n if n >= 1e5 => format!("{:.0}k", n / 1e3),
        n if n.fract() == 0.0 || n >= 100.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// Its width; 0 for what is left.
    pub width: u16,
    /// Whether it is a number.
    pub right: bool,
}

/// A column of texts.
pub const fn words(name: &'static str, width: u16) -> Column {
    Column { name, width, right: false }
}

/// A column of numbers.
pub const fn numbers(name: &'static str, width: u16) -> Column {
    Column { name, width, right: true }
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its columns.
    pub columns: &'static [Column],
    /// Its rows, with a number that stays with each through sorting.
    pub rows: Vec<(usize, Vec<Cell>)>,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Index of the column.
    pub column: usize,
    /// Whether the largest come first.
    pub down: bool,
}

impl Table {
    /// With these rows.
    pub fn new(columns: &'static [Column], rows: impl Iterator<Item = Vec<Cell>>) -> Self {
        Self { columns, rows: rows.enumerate().collect() }
    }

    /// Rows with the text in one of their cells, in any case.
    pub fn filter(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        let has = |cell: &Cell| cell.text.to_lowercase().contains(&wanted);
        self.rows.retain(|(_, row)| row.iter().any(has));
    }

    /// Sorts; equal rows stay in their order.
    pub fn sort(&mut self, sort: Sort) {
        let cell = |row: &Vec<Cell>| row.get(sort.column).cloned().unwrap_or_else(|| Cell::text(""));
        self.rows.sort_by(|(_, a), (_, b)| {
            let order = cell(a).compare(&cell(b));
            if sort.down { order.reverse() } else { order }
        });
    }

    /// Each row as an object.
    pub fn json(&self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let value = |cell: &Cell| cell.number.map_or_else(|| cell.text.clone().into(), Into::into);
        let object = |row: &Vec<Cell>| {
            let names = self.columns.iter().map(|column| column.name.to_lowercase().replace(' ', "_"));
            names.zip(row.iter().map(value)).collect()
        };
        self.rows.iter().map(|(_, row)| object(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[words("NAME", 5), numbers("COUNT", 5)];

    fn table() -> Table {
        let rows = [("b", 9), ("Ab", 10), ("c", 9)];
        Table::new(COLUMNS, rows.into_iter().map(|(name, count)| vec![Cell::text(name), Cell::count(count)]))
    }

    fn names(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|(_, row)| &*row[0].text).collect()
    }

    #[test]
    fn numbers_are_sorted_as_numbers_and_equal_rows_stay() {
        let mut table = table();
        table.sort(Sort { column: 1, down: true });
        assert_eq!(names(&table), ["Ab", "b", "c"]);
        table.sort(Sort { column: 0, down: false });
        assert_eq!(names(&table), ["Ab", "b", "c"]);
        table.sort(Sort { column: 7, down: true });
        assert_eq!(names(&table), ["Ab", "b", "c"]);
    }

    #[test]
    fn a_filter_looks_into_every_cell_in_any_case() {
        let mut table = table();
        table.filter("aB");
        assert_eq!(names(&table), ["Ab"]);
        let mut other = self::table();
        other.filter("10");
        assert_eq!((names(&other), other.rows[0].0), (vec!["Ab"], 1));
    }

    #[test]
    fn numbers_fit_into_six_letters() {
        let said = [0.0, 0.25, 12.0, 99_999.0, 123_456.0, 9_999_999.0, 3.2e7, 5e12, 4e14].map(short);
        assert_eq!(said, ["0", "0.2", "12", "99999", "123k", "10000k", "32M", "5000G", "400T"]);
        assert!(said.iter().all(|text| text.len() <= 6));
    }

    #[test]
    fn as_json_a_number_is_a_number() {
        let json = serde_json::to_string(&table().json()[1]).unwrap();
        assert_eq!(json, r#"{"count":10.0,"name":"Ab"}"#);
    }
}
