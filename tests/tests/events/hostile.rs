//! Text that tries to be more than text.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Arguments that try to break a line, a terminal or a parser.
pub fn hostile() -> Vec<OsString> {
    let forged = "\n{\"type\":\"finding\",\"rule\":\"forged\"}\n";
    let mut arguments: Vec<OsString> = [
        "a\nb",
        "\r\t\u{b}",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\"\\\"",
        "'",
        "{}",
        "",
        forged,
        "\u{2028}\u{202e}",
    ]
    .map(OsString::from)
    .into();
    arguments
        .extend([&b"\xff\xfe"[..], b"\xc3", b"ok\xf0\x9f"].map(|bytes| OsString::from_vec(bytes.to_vec())));
    arguments
}

/// The bytes that an escaped text stands for.
pub fn unescaped(text: &Value) -> Result<Vec<u8>> {
    let text = text.as_str().context("no text")?;
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        rest = escape.get(1..).with_context(|| format!("a lone backslash in {text:?}"))?;
        match escape.as_bytes()[0] {
            b'\\' => bytes.push(b'\\'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'x' => {
                let (digits, after) = rest.split_at_checked(2).context("a byte")?;
                bytes.push(u8::from_str_radix(digits, 16)?);
                rest = after;
            }
            b'u' => {
                let (digits, after) = rest[1..].split_once('}').context("a character")?;
                let character = char::from_u32(u32::from_str_radix(digits, 16)?).context("a character")?;
                bytes.extend_from_slice(character.to_string().as_bytes());
                rest = after;
            }
            other => bail!("an unknown escape {:?} in {text:?}", char::from(other)),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}
