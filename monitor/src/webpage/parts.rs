//! Pieces that the page is made of.

use maud::{Markup, html};

/// A table with a caption. A head that begins with `#` is of numbers. Without rows, a sentence instead.
pub(super) fn table(
    caption: &str,
    heads: &[&str],
    none: &str,
    rows: impl ExactSizeIterator<Item = Markup>,
) -> Markup {
    if rows.len() == 0 {
        return html! { h3 { (caption) } (empty(none)) };
    }
    html! {
        // Wide tables scroll by themselves; who can focus them can scroll them with the keyboard.
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { @for head in heads {
                    @match head.strip_prefix('#') {
                        Some(head) => th.number scope="col" { (head) },
                        None => th scope="col" { (head) },
                    }
                } } }
                tbody { @for row in rows { tr { (row) } } }
            }
        }
    }
}

/// What stands in place of nothing.
pub(super) fn empty(sentence: &str) -> Markup {
    html! { p.empty { (sentence) } }
}

/// A word that stands out.
pub(super) fn pill(class: &str, word: &str) -> Markup {
    html! { span class={ "pill " (class) } { (word) } }
}

/// What was decided, and whether it was done.
pub(super) fn verdict(verdict: &str, mode: &str) -> Markup {
    if mode == "observe" { pill("so-so", &format!("would {verdict}")) } else { pill("bad", verdict) }
}

/// A cell with a number.
pub(super) fn number(value: u64) -> Markup {
    html! { td.number { (count(value)) } }
}

/// A number with its thousands apart.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space that doesn't break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Bytes, in the unit that makes it short.
pub(super) fn bytes(value: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut rest = value as f64;
    let mut unit = 0;
    while rest >= 1024.0 && unit + 1 < units.len() {
        rest /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value} B") } else { format!("{rest:.1} {}", units[unit]) }
}

/// A figure with its name and what it means.
pub(super) fn figure(name: &str, value: &str, means: &str) -> Markup {
    html! { div { dt { (name) } dd { strong { (value) } span { (means) } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
        assert_eq!([0, 1023, 1024, 5 << 20].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]);
    }
}
