//! The text of a file, and places in it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml_spanner::Span;

/// Where in the files something was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given or found; empty for what no file says (a default).
    pub file: PathBuf,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 if the whole file is meant.
    pub column: u32,
}

impl fmt::Display for Place {
    /// `file:line:column`, with control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return f.write_str("default");
        }
        f.write_str(&printable_path(&self.file))?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

/// The texts of a configuration.
pub(crate) type Sources = Vec<Arc<Source>>;

/// One file's text with an index of its lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Position among all files; diagnostics are sorted by it.
    pub(crate) order: usize,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    line_starts: Vec<usize>,
    /// Whether it keeps to itself where something was said.
    placeless: bool,
}

impl Source {
    pub(crate) fn new(order: usize, path: PathBuf, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(ends).collect();
        Self { order, path, text, line_starts, placeless: false }
    }

    /// The same text, of which no place is told: what is read from it can be compared with what another text says.
    pub(crate) fn without_places(&self) -> Self {
        Self { placeless: true, ..Self::new(self.order, self.path.clone(), self.text.clone()) }
    }

    /// Whether it is a file of a `policy.d` directory, which may hold rules and workloads only.
    pub(crate) fn is_fragment(&self) -> bool {
        self.path.parent().and_then(Path::file_name).is_some_and(|name| name == "policy.d")
    }

    /// The line (from 0) that holds the byte at `offset`.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Byte range of the lines `first..=last` (from 0), without the last line's end.
    pub(crate) fn lines(&self, first: usize, last: usize) -> Range<usize> {
        let start = self.line_starts.get(first).copied().unwrap_or(self.text.len());
        let end = self.line_starts.get(last + 1).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }

    /// Line and column (from 1) of the byte at `offset`.
    pub(crate) fn position(&self, offset: usize) -> (u32, u32) {
        let offset = self.floor(offset);
        let line = self.line_of(offset);
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line as u32 + 1, column as u32 + 1)
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        if self.placeless {
            return Place::default();
        }
        let (line, column) = self.position(offset);
        Place { file: self.path.clone(), line, column }
    }

    /// The byte offset of a place in this file.
    pub(crate) fn offset(&self, line: u32, column: u32) -> usize {
        let start = (line as usize).checked_sub(1).and_then(|line| self.line_starts.get(line)).copied();
        let Some(start) = start else { return 0 };
        let rest = self.text.get(start..).unwrap_or("");
        let skip = (column as usize).saturating_sub(1);
        start + rest.char_indices().nth(skip).map_or(rest.len(), |(at, _)| at)
    }

    /// The text value or table header that begins at a place.
    pub(crate) fn span_at(&self, place: &Place) -> Span {
        let start = self.offset(place.line, place.column);
        let line = self.text.get(start..).unwrap_or("").lines().next().unwrap_or("");
        let length = match line.chars().next() {
            Some(quote @ ('"' | '\'')) => line[1..].find(quote).map(|end| end + 2),
            Some('[') => line.rfind(']').map(|end| end + 1),
            _ => None,
        };
        let length = length.unwrap_or_else(|| line.chars().next().map_or(0, char::len_utf8));
        Span::new(start as u32, (start + length) as u32)
    }

    /// `range` cut to the text and moved to character boundaries.
    pub(crate) fn clamp(&self, range: Range<usize>) -> Range<usize> {
        let start = self.floor(range.start);
        let mut end = range.end.clamp(start, self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// `text` in backquotes for a message: without control or direction characters, and cut after 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == 80 {
            out.push('…');
            break;
        }
        if is_printable(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
    out.push('`');
    out
}

/// A path as text that can't forge a line or a terminal sequence.
pub(crate) fn printable_path(path: &Path) -> String {
    printable(path.to_string_lossy().into_owned())
}

/// The text with escapes for what isn't printable.
pub(crate) fn printable(text: String) -> String {
    if text.chars().all(is_printable) {
        return text;
    }
    text.chars()
        .map(|c| if is_printable(c) { c.to_string() } else { c.escape_default().to_string() })
        .collect()
}

/// Whether a character shows as itself: not a control, direction, separator or zero-width character.
pub(crate) fn is_printable(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}
