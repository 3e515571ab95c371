//! Paths, globs and classes of executed files.

use super::limits::{MAX_ARGUMENT_BYTES, MAX_GLOB_BYTES, MAX_PATH_BYTES};
use super::model::{Class, Pattern};
use super::source::{is_printable, quoted};
use super::suggest::nearest;

/// What is wrong with a value, and what to write instead.
pub(crate) type Wrong = (String, String);

fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err((message.into(), help.into()))
}

/// Reads a path, a glob or, where `classes` are allowed, a class.
pub(crate) fn parse(text: &str, classes: bool) -> Result<Pattern, Wrong> {
    if text.starts_with('@') {
        return class(text, classes);
    }
    if text.is_empty() {
        return wrong("the path is empty", "write an absolute path or a glob, for example `/usr/bin/psql`");
    }
    check_length(text)?;
    if !text.starts_with('/') {
        return relative(text);
    }
    if let Some(c) = text.chars().find(|c| !is_printable(*c)) {
        let name = c.escape_unicode();
        return wrong(format!("the path contains the unprintable character {name}"), "match it with `?`");
    }
    if text.contains('\\') {
        return wrong(
            "a backslash has no meaning in a path or glob",
            "to match `*`, `?`, `[` or `{` itself write `[*]`, `[?]`, `[[]` or `[{]`; `?` matches a backslash",
        );
    }
    let is_glob = is_glob(text);
    let directory = text.strip_suffix('/');
    if directory != Some("") {
        check_components(directory.unwrap_or(text))?;
    }
    if is_glob {
        check_glob(text)?;
    }
    // The two for `**` below a directory are counted too.
    if (is_glob || directory.is_some()) && text.len() + 2 > MAX_GLOB_BYTES {
        let message =
            format!("the glob is {} bytes long, at most {} are allowed", text.len(), MAX_GLOB_BYTES - 2);
        return wrong(message, "longer paths aren't compared; use `**` for a part of it");
    }
    Ok(match directory {
        Some(directory) => Pattern::Glob(format!("{directory}/**")),
        None if is_glob => Pattern::Glob(text.to_owned()),
        None => Pattern::Path(text.to_owned()),
    })
}

/// Whether a text has wildcards.
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// Reads a part of an argument.
pub(crate) fn argument(text: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        return wrong("an empty text is in every argument", "write a part of an argument, such as `--dump`");
    }
    if text.len() > MAX_ARGUMENT_BYTES {
        let message =
            format!("the text is {} bytes long, at most {MAX_ARGUMENT_BYTES} are allowed", text.len());
        return wrong(message, "write a shorter part of the argument");
    }
    if text.contains('\0') {
        return wrong("the text contains a zero byte, which no argument has", "write what comes before it");
    }
    Ok(text.to_owned())
}

/// Reads a glob for a whole argument.
pub(crate) fn argument_glob(text: &str) -> Result<String, Wrong> {
    argument(text)?;
    if text.contains('\\') {
        return wrong(
            "a backslash has no meaning in a glob",
            "to match `*`, `?`, `[` or `{` itself write `[*]`, `[?]`, `[[]` or `[{]`; `?` matches a backslash",
        );
    }
    if text.contains("**") {
        return wrong(
            format!("`**` has no meaning in the argument {}", quoted(text)),
            "write a single `*`: in an argument it matches `/`, too",
        );
    }
    check_part(text)?;
    Ok(text.to_owned())
}

/// Checks an absolute path that names one file or directory, without wildcards.
pub(crate) fn absolute(text: &str, example: &str) -> Result<(), Wrong> {
    let instead = format!("write an absolute path, for example `{example}`");
    if text.is_empty() {
        return wrong("the path is empty", instead);
    }
    if !text.starts_with('/') {
        return wrong(format!("the path {} is not absolute", quoted(text)), instead);
    }
    check_length(text)?;
    if text.chars().any(|c| !is_printable(c)) {
        return wrong(format!("the path {} contains an unprintable character", quoted(text)), instead);
    }
    Ok(())
}

/// Checks that no component of a path other than `/` is empty, `.` or `..`.
pub(crate) fn check_components(path: &str) -> Result<(), Wrong> {
    for part in path.split('/').skip(1) {
        if part.is_empty() {
            return wrong(
                format!("the path {} has an empty component", quoted(path)),
                "write one `/`, not two",
            );
        }
        if matches!(part, "." | "..") {
            return wrong(
                format!("the path {} contains `{part}`", quoted(path)),
                "write the path as it is without `.` and `..`",
            );
        }
    }
    Ok(())
}

fn check_length(text: &str) -> Result<(), Wrong> {
    if text.len() > MAX_PATH_BYTES {
        let message = format!("the path is {} bytes long, at most {MAX_PATH_BYTES} are allowed", text.len());
        return wrong(message, "no path can be longer; use a glob for a part of it");
    }
    Ok(())
}

fn relative<T>(text: &str) -> Result<T, Wrong> {
    let help = match text.strip_prefix("~/") {
        Some(rest) => format!("`~` isn't expanded; write `/home/*/{rest}` or `/root/{rest}`"),
        None if text.starts_with("**") => format!("write {}", quoted(&format!("/{text}"))),
        None => format!(
            "write where it lies, or a glob for any place: {}",
            quoted(&format!("/**/{}", text.trim_start_matches("./")))
        ),
    };
    wrong(format!("the path {} is not absolute", quoted(text)), help)
}

fn class(text: &str, allowed: bool) -> Result<Pattern, Wrong> {
    let found = Class::ALL.into_iter().find(|class| class.name() == text);
    match found {
        Some(class) if allowed => Ok(Pattern::Class(class)),
        Some(_) => wrong(
            format!("the class {} can't be used here", quoted(text)),
            "classes are for `[[exec]]`; write a path or a glob",
        ),
        None => {
            let names = Class::ALL.map(Class::name);
            let help = match nearest(text, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the classes are `{}`", names.join("`, `")),
            };
            wrong(format!("unknown class {}", quoted(text)), help)
        }
    }
}

/// Checks the wildcards of every component.
pub(crate) fn check_glob(text: &str) -> Result<(), Wrong> {
    for part in text.split('/') {
        check_part(part)?;
    }
    Ok(())
}

/// Checks the wildcards of a text without `/`.
pub(crate) fn check_part(part: &str) -> Result<(), Wrong> {
    if part.contains("**") && part != "**" {
        return wrong(
            format!("`**` must be a whole component, not a part of {}", quoted(part)),
            "write `/**/` for any depth, or a single `*` within a component",
        );
    }
    let mut rest = part;
    let mut braces = false;
    while let Some(at) = rest.find(['[', '{', '}', ',']) {
        let tail = &rest[at + 1..];
        match rest.as_bytes()[at] {
            b'[' => {
                rest = check_class(tail)?;
                continue;
            }
            b'{' if braces => {
                return wrong(format!("nested braces in {}", quoted(part)), "write all alternatives out");
            }
            b'{' => {
                braces = true;
                if tail.starts_with([',', '}']) {
                    return empty_alternative(part);
                }
            }
            b'}' if !braces => {
                return wrong(
                    format!("`}}` without `{{` in {}", quoted(part)),
                    "to match `}` itself write `[}]`",
                );
            }
            b'}' => braces = false,
            _ if braces && tail.starts_with([',', '}']) => return empty_alternative(part),
            _ => {}
        }
        rest = tail;
    }
    if braces {
        let message = format!("`{{` is not closed in {}", quoted(part));
        return wrong(message, "close it with `}` before the next `/`; to match `{` itself write `[{]`");
    }
    Ok(())
}

fn empty_alternative<T>(part: &str) -> Result<T, Wrong> {
    wrong(
        format!("an empty alternative in {}", quoted(part)),
        "write `{a,b}` with text on both sides of each comma",
    )
}

/// Checks a bracket expression after its `[`, and returns what follows it.
fn check_class(text: &str) -> Result<&str, Wrong> {
    let body = text.strip_prefix('!').unwrap_or(text);
    // A `]` that comes first stands for itself.
    let from = body.chars().next().map_or(0, char::len_utf8);
    let Some(end) = body.get(from..).and_then(|tail| tail.find(']')).map(|at| at + from) else {
        let help = "close it with `]` before the next `/`; to match `[` itself write `[[]`";
        return wrong(format!("`[` is not closed in {}", quoted(&format!("[{text}"))), help);
    };
    check_members(&body[..end])?;
    Ok(&body[end + 1..])
}

/// Checks the characters and ranges between brackets.
fn check_members(body: &str) -> Result<(), Wrong> {
    if body.starts_with('^') {
        return wrong("`[^` is not the sign for \"none of\"", "write `[!a-z]`");
    }
    if let Some(c) = body.chars().find(|c| !c.is_ascii()) {
        return wrong(
            format!("`{c}` can't stand between brackets: paths are compared byte by byte"),
            format!("write alternatives: `{{{c},...}}`"),
        );
    }
    let mut rest = body.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match tail {
            [b'-', last, after @ ..] => {
                check_range(*first, *last)?;
                after
            }
            _ => tail,
        };
        if let [b'-', _, ..] = rest {
            return wrong(
                format!("a misplaced `-` in {}", quoted(&format!("[{body}]"))),
                "write it first or last",
            );
        }
    }
    Ok(())
}

fn check_range(first: u8, last: u8) -> Result<(), Wrong> {
    let (low, high) = (char::from(first), char::from(last));
    if low > high {
        return wrong(format!("the range `{low}-{high}` is backwards"), format!("write `{high}-{low}`"));
    }
    if (low..=high).contains(&'/') {
        let help = "no name contains `/`: write a range on each side of it";
        return wrong(format!("the range `{low}-{high}` includes `/`"), help);
    }
    Ok(())
}
