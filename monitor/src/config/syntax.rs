//! From text to raw types: what the TOML reader reports, in the words of this project.

use std::sync::Arc;

use toml_spanner::{Arena, Error, ErrorKind, Span};

use super::diagnostic::{Diagnostic, Severity};
use super::raw;
use super::schema;
use super::source::{Source, quoted};
use super::suggest::{list, nearest};

/// One file as far as it could be read.
pub(crate) struct Parsed {
    pub source: Arc<Source>,
    pub file: raw::File,
    /// Where the text isn't TOML; what stood there is missing in `file`.
    pub broken: Vec<Span>,
}

impl Parsed {
    /// Whether text that isn't TOML lies in the table that begins with `span`, so that a key may be missing
    /// for that.
    pub fn is_broken(&self, span: Span) -> bool {
        let text = &self.source.text;
        let after = text.get(span.range().end..).unwrap_or("");
        let rest = after.split_inclusive('\n').take_while(|line| !line.trim_start().starts_with('['));
        let end = span.range().end + rest.map(str::len).sum::<usize>();
        self.broken.iter().any(|at| (span.range().start..=end).contains(&at.range().start))
    }

    /// Whether a `name` key with this value may stand in text that couldn't be read.
    pub fn may_define(&self, name: &str) -> bool {
        let written = [format!("\"{name}\""), format!("'{name}'")];
        let defines = |line: &str| line.contains("name") && written.iter().any(|name| line.contains(name));
        !self.broken.is_empty() && self.source.text.lines().any(defines)
    }
}

/// Reads `source`, and adds what is wrong to `diagnostics`.
pub(crate) fn parse(source: Arc<Source>, diagnostics: &mut Vec<Diagnostic>) -> Parsed {
    let arena = Arena::new();
    let mut document = toml_spanner::parse_recoverable(&source.text, &arena);
    let syntax_errors = document.errors().len();
    let (file, errors) = match document.to_allowing_errors::<raw::File>() {
        Ok((file, errors)) => (file, errors.errors),
        Err(errors) => (raw::File::default(), errors.errors),
    };
    let broken: Vec<_> = errors.iter().take(syntax_errors).map(Error::span).collect();
    for (index, error) in errors.iter().enumerate() {
        let consequence = if index < syntax_errors {
            index > 0 && continues_statement(&source, error.span())
        } else {
            // After a broken table header its keys seem to stand at the top of the file.
            is_top_key(error) && broken.iter().any(|at| at.start < error.span().start)
        };
        if !consequence {
            diagnostics.push(explain(&source, error, index < syntax_errors));
        }
    }
    Parsed { source, file, broken }
}

/// Whether an error after another one lies in a line that only goes on with a list.
fn continues_statement(source: &Source, span: Span) -> bool {
    let line = source.line_of(span.range().start);
    let text = source.text.get(source.lines(line, line)).unwrap_or("").trim_start();
    text.starts_with(['"', '\'']) && !text.contains('=')
}

fn is_top_key(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedKey { .. }) && keys_of(error).len() == 1
}

/// The path of an error without array indices: the table and the key.
fn keys_of(error: &Error) -> Vec<String> {
    let Some(path) = error.path() else { return Vec::new() };
    // The components themselves are private; their text is not. Only known keys matter here, and those are
    // bare.
    let text = path.to_string();
    text.split('.').map(|part| part.split('[').next().unwrap_or("").to_owned()).collect()
}

fn explain(source: &Arc<Source>, error: &Error, syntax: bool) -> Diagnostic {
    let keys = keys_of(error);
    let written = source.text.get(error.span().range()).unwrap_or("");
    let (table, key) = match keys.as_slice() {
        [key] => (String::new(), key.as_str()),
        [table, outer, key, ..] if schema::is_nested_table(table, outer) => {
            (format!("{table}.{outer}"), key.as_str())
        }
        [table, key, ..] => (table.clone(), key.as_str()),
        [] => (String::new(), ""),
    };
    let table = table.as_str();
    let make = |message: String| Diagnostic::new(Severity::Error, source, error.span(), message);
    let diagnostic = match error.kind() {
        ErrorKind::UnexpectedKey { .. } => unknown_key(make, table, &unquote(written)),
        ErrorKind::Wanted { expected, found } if !syntax => {
            let element =
                error.path().is_some_and(|path| path.to_string().ends_with(']')) && !table.is_empty();
            wrong_type(make, (table, key, element), expected, found)
        }
        ErrorKind::UnexpectedVariant { expected } => {
            let word = unquote(written);
            let choices =
                expected.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ");
            let help = match nearest(&word, expected.iter().copied()) {
                Some(near) => format!("did you mean `\"{near}\"`? It may be {choices}"),
                None => format!("it may be {choices}"),
            };
            make(format!("{} is no value of `{key}`", quoted(&word))).help(help)
        }
        ErrorKind::UnquotedString => {
            let word: String = written.chars().take_while(|c| !c.is_whitespace()).collect();
            make("a text value must stand in quotes".into())
                .help(format!("write {}", quoted(&format!("\"{word}\""))))
        }
        ErrorKind::DuplicateKey { first }
            if written.starts_with('[') || schema::is_array_of_tables(&unquote(written)) =>
        {
            let key = unquote(written.trim_matches(['[', ']']));
            make(format!("{} is defined twice, and not both times as a list of tables", quoted(&key)))
                .related(source, first, "defined here first")
                .help(format!("write `{}` each time", schema::header(&key)))
        }
        ErrorKind::DuplicateKey { first } => {
            let key = quoted(&unquote(written));
            make(format!("the key {key} is given twice in one table"))
                .related(source, first, "given here first")
                .help(format!("remove one of them, or begin a new table before the second {key}"))
        }
        ErrorKind::DuplicateTable { name, first } => {
            let name = unquote(source.text.get(name.range()).unwrap_or(""));
            let help = if schema::is_array_of_tables(&name) {
                format!("write `[[{name}]]` for each")
            } else {
                "put the keys of both into one table".into()
            };
            make(format!("the table {} is defined twice", quoted(&name)))
                .related(source, first, "defined here first")
                .help(help)
        }
        ErrorKind::RedefineAsArray { first } => {
            let name = unquote(written.trim().trim_matches(['[', ']', ' ']));
            make(format!("the table {} was defined with one bracket before", quoted(&name)))
                .related(source, first, "defined here first")
                .help(format!("write `{}` each time", schema::header(&name)))
        }
        _ => {
            let diagnostic = make(format!("not valid TOML: {}", error.message(&source.text)));
            let help = match error.kind() {
                ErrorKind::UnterminatedString(_) => "close the text with a quote on the same line",
                ErrorKind::MissingArrayComma => "put a comma between the elements of a list",
                ErrorKind::UnclosedArray => "close the list with `]`",
                ErrorKind::Unexpected(_) => "text stands in quotes, lists in brackets",
                ErrorKind::Wanted { expected, .. } if expected.contains("equals") => "write `key = value`",
                ErrorKind::Wanted { expected, .. } if expected.contains("newline") => {
                    "put one `key = value` on a line"
                }
                ErrorKind::InvalidEscape(_) => {
                    "write `\\\\` for a backslash, or put the text in single quotes"
                }
                _ => {
                    "write `key = value`, `[table]` or `[[table]]`; text stands in quotes, lists in brackets"
                }
            };
            diagnostic.help(help)
        }
    };
    match error.secondary_label() {
        // Those that are handled above have their own.
        Some((first, label)) if matches!(error.kind(), ErrorKind::DottedKeyInvalidType { .. }) => {
            diagnostic.related(source, first, label)
        }
        _ => diagnostic,
    }
}

fn unquote(written: &str) -> String {
    written.trim_matches(['"', '\'']).to_owned()
}

fn unknown_key(make: impl Fn(String) -> Diagnostic, table: &str, key: &str) -> Diagnostic {
    let place = if table.is_empty() {
        "at the top of the file".into()
    } else {
        format!("in `{}`", schema::header(table))
    };
    if schema::is_planned(table, key) {
        let what =
            if table.is_empty() { quoted(&format!("[[{key}]]")) } else { format!("{} {place}", quoted(key)) };
        let message = format!("{what} is not supported by this version yet");
        return make(message).help("remove it; what this version knows is printed by `monitor schema`");
    }
    let known = schema::keys(table);
    let show = |key: &'static str| {
        if table.is_empty() && (schema::is_table(key) || schema::is_array_of_tables(key)) {
            schema::header(key)
        } else {
            key.to_owned()
        }
    };
    let help = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{}`?", show(near)),
        None => {
            let shown: Vec<_> = known.iter().map(|key| show(key)).collect();
            format!("known here: {}", list(shown.iter().map(String::as_str)))
        }
    };
    make(format!("unknown key {} {place}", quoted(key))).help(help)
}

fn wrong_type(
    make: impl Fn(String) -> Diagnostic,
    (table, key, element): (&str, &str, bool),
    expected: &str,
    found: &str,
) -> Diagnostic {
    if table.is_empty() && schema::is_array_of_tables(key) {
        let message = format!("`{key}` must be a list of tables, found {}", found_type(found));
        return make(message).help(format!("write `[[{key}]]` with two brackets"));
    }
    if table.is_empty() && schema::is_table(key) {
        let message = format!("`{key}` must be a table, found {}", found_type(found));
        return make(message).help(format!("write `[{key}]` with one bracket, once"));
    }
    if schema::is_inner_array_of_tables(table, key) {
        let message = format!("`{key}` must be a list of tables, found {}", found_type(found));
        return make(message).help(format!("write `[[{table}.{key}]]` with two brackets"));
    }
    let what = if element { format!("an entry of `{key}`") } else { format!("`{key}`") };
    let diagnostic = make(format!("{what} must be {}, found {}", article(expected), found_type(found)));
    match schema::example(table, key) {
        Some(example) => diagnostic.help(format!("for example: {example}")),
        None => diagnostic,
    }
}

fn found_type(kind: &str) -> String {
    if kind.contains("bool") { "a boolean".into() } else { article(kind) }
}

/// The reader's name of a type in the words of this project.
fn article(kind: &str) -> String {
    match kind.trim_start_matches("an ").trim_start_matches("a ") {
        "array" => "a list".into(),
        "integer" => "an integer".into(),
        "bool" | "boolean" => "true or false".into(),
        "\"auto\" or a list of names" => "\"auto\" or a list of names".into(),
        other => format!("a {other}"),
    }
}
