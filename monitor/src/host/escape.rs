//! Undoes escapes that stand for a byte by its code.

/// Replaces each `marker` that is followed by `digits` digits of a base (2 to 36) by the byte with that code. What is no such
/// escape, or stands for no byte, is left as it is.
pub fn undo(text: &[u8], marker: &[u8], digits: usize, base: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escape = rest.strip_prefix(marker).and_then(|rest| rest.split_at_checked(digits));
        let code = escape.and_then(|(code, after)| {
            let code =
                str::from_utf8(code).ok().filter(|code| code.chars().all(|digit| digit.is_digit(base)))?;
            Some((u8::from_str_radix(code, base).ok()?, after))
        });
        let (byte, after) = code.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::undo;

    #[test]
    fn only_whole_escapes_of_a_byte_are_undone() {
        assert_eq!(undo(br"a\x2db\x2", br"\x", 2, 16), br"a-b\x2");
        assert_eq!(undo(br"\x+1\xzz\\x2d", br"\x", 2, 16), br"\x+1\xzz\-");
        assert_eq!(undo(br"a\040b\777\134", br"\", 3, 8), br"a b\777\");
    }
}
