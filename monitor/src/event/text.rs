//! Text that somebody else chose.

use std::fmt;

use bytes::Bytes;

/// A path, an argument or a name: bytes that an attacker may have chosen.
///
/// Shown (`Display`, JSON) it is valid UTF-8 on one line: control characters, bytes that are not UTF-8, and characters
/// that change the direction of text are escaped, so it can't forge a line, a field or a terminal sequence. A
/// backslash is doubled, so that the escapes are unambiguous.
///
/// Cloning it, or taking it out of a record that is shared already, copies no bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// From raw bytes, which are copied.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// From a fixed field that is filled up with zero bytes.
    #[must_use]
    pub fn from_padded(bytes: &[u8]) -> Self {
        Self::new(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    /// The raw bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Between quotation marks.
    #[must_use]
    pub fn quoted(&self) -> Quoted<'_> {
        Quoted(self)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text between quotation marks, for use inside of a sentence: nothing in it can end the quotation.
pub struct Quoted<'a>(&'a Text);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Backslashes of the text are doubled, so a quotation mark behind a single one is always an escaped one.
        write!(f, "\"{}\"", self.0.to_string().replace('"', "\\\""))
    }
}

impl From<Bytes> for Text {
    /// Shares the bytes.
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Whether a character is shown as it is.
fn is_plain(character: char) -> bool {
    // Marks, embeddings, overrides and isolates of the bidirectional algorithm (Unicode TR 9), line and paragraph
    // separators, zero width and filling characters and the byte order mark.
    let invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !character.is_control() && !invisible && character != '\\'
}

/// The text itself, if all of it is printable ASCII but backslashes: what nearly every path and argument is. Then nothing has to
/// be looked at by character.
fn as_it_is(bytes: &[u8]) -> Option<&str> {
    let plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
    plain.then(|| str::from_utf8(bytes).ok()).flatten()
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = as_it_is(&self.0) {
            return f.write_str(text);
        }
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    plain if is_plain(plain) => fmt::Write::write_char(f, plain)?,
                    other => write!(f, "\\u{{{:x}}}", u32::from(other))?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match as_it_is(&self.0) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Text;
    use proptest::prelude::*;

    #[test]
    fn hostile_text_stays_on_its_line() {
        let text = Text::new(&b"a\nb\x1b[2J\xff\\x\xe2\x80\xaeevil"[..]);
        assert_eq!(text.to_string(), "a\\nb\\u{1b}[2J\\xff\\\\x\\u{202e}evil");
        assert_eq!(Text::new("größe").to_string(), "größe");
    }

    #[test]
    fn a_quotation_cannot_be_ended_from_inside() {
        assert_eq!(Text::from(r#"x" said \"#).quoted().to_string(), r#""x\" said \\""#);
    }

    #[test]
    fn padding_is_cut() {
        assert_eq!(Text::from_padded(b"init\0\0garbage"), Text::from("init"));
    }

    proptest! {
        #[test]
        fn nothing_shown_is_a_control_character(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!Text::new(bytes).to_string().chars().any(char::is_control));
        }

        #[test]
        fn what_is_shown_as_it_is_would_be_so_by_character(text in "[ -~]{0,40}") {
            let plain = text.chars().all(super::is_plain);
            prop_assert_eq!(super::as_it_is(text.as_bytes()), Some(&*text).filter(|_| plain));
        }

        #[test]
        fn different_bytes_are_shown_differently(a in prop::collection::vec(any::<u8>(), 0..20),
                                                 b in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(a == b, Text::new(a).to_string() == Text::new(b).to_string());
        }
    }
}
