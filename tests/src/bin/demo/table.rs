//! What people see: steps, a table that fits the terminal, and colours only on one.

use std::{
    env,
    io::{self, IsTerminal},
    mem,
};

/// How a row ended, which gives its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went through, as it should.
    Passed,
    /// It was stopped, as it should.
    Stopped,
}

const COLUMNS: usize = 3;
const BETWEEN: &str = " │ ";
/// Wider lines are hard to read.
const WIDEST: usize = 120;
const DEFAULT_WIDTH: usize = 80;

/// Where everything is printed.
pub struct Table {
    width: usize,
    colours: bool,
}

impl Table {
    /// Fits the terminal; 80 columns and no colours where there is none.
    pub fn for_output() -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(terminal_width).flatten().unwrap_or(DEFAULT_WIDTH);
        Self { width: width.clamp(40, WIDEST), colours: terminal && env::var_os("NO_COLOR").is_none() }
    }

    pub fn step(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    pub fn note(&self, text: &str) {
        for line in wrap(text, self.width) {
            println!("{line}");
        }
    }

    pub fn code(&self, text: &str) {
        for line in text.trim().lines() {
            println!("  {}", self.paint("36", line));
        }
    }

    pub fn heading(&self, cells: [&str; COLUMNS]) {
        println!();
        self.lines(cells, "1");
    }

    /// A line between two acts.
    pub fn rule(&self) {
        let cell = "─".repeat(self.cell());
        println!("{}", [cell.as_str(); COLUMNS].join("─┼─"));
    }

    pub fn row(&self, tone: Tone, cells: [&str; COLUMNS]) {
        self.rule();
        self.lines(cells, if tone == Tone::Passed { "32" } else { "31" });
    }

    fn lines(&self, cells: [&str; COLUMNS], colour: &str) {
        let cells = cells.map(|cell| wrap(cell, self.cell()));
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        for line in 0..height {
            let parts: Vec<String> = cells
                .iter()
                .enumerate()
                .map(|(column, cell)| {
                    let text = cell.get(line).map_or("", String::as_str);
                    let padded = format!("{text:<width$}", width = self.cell());
                    // What was tried is the same in every light.
                    if column == 0 { padded } else { self.paint(colour, &padded) }
                })
                .collect();
            println!("{}", parts.join(BETWEEN).trim_end());
        }
    }

    fn cell(&self) -> usize {
        (self.width - (COLUMNS - 1) * BETWEEN.chars().count()) / COLUMNS
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn terminal_width() -> Option<usize> {
    // SAFETY: all zeroes is a valid value of this struct of integers.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: the request writes one `winsize`.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Breaks a text into lines of a width, at spaces where there are some.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last().map_or(0, |line| line.chars().count());
            let room = width.saturating_sub(if line == 0 { 0 } else { line + 1 });
            if rest.len() > room && line > 0 {
                lines.push(String::new());
                continue;
            }
            let after = rest.split_off(rest.len().min(room));
            if let Some(last) = lines.last_mut() {
                if line > 0 {
                    last.push(' ');
                }
                last.extend(rest);
            }
            rest = after;
        }
    }
    lines
}
