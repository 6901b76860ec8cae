//! Undoes the escapes that web servers write inside quotes.
//!
//! Apache writes `\"`, `\\`, `\n`, `\t`, … and `\xHH`; nginx writes `\xHH`, or with
//! `escape=json` what JSON has. A backslash before anything else stands for itself.

use std::borrow::Cow;

/// The text that was logged; bytes that are not UTF-8 become U+FFFD.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = if *byte == b'\\' {
            escape(after, &mut bytes)
        } else {
            bytes.push(*byte);
            after
        };
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Owned(replaced) => replaced,
        Cow::Borrowed(_) => String::from_utf8(bytes).expect("it was just found to be UTF-8"),
    }
}

/// Adds what an escape stands for and gives what follows it.
fn escape<'a>(text: &'a [u8], bytes: &mut Vec<u8>) -> &'a [u8] {
    let (byte, length) = match *text {
        [b'x', high, low, ..] if is_hex(&[high, low]) => (hex(&[high, low]) as u8, 3),
        [b'u', a, b, c, d, ..] => match char::from_u32(hex(&[a, b, c, d])) {
            Some(letter) if is_hex(&[a, b, c, d]) => {
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return &text[5..];
            }
            _ => (b'\\', 0),
        },
        [mark @ (b'"' | b'\\' | b'/' | b'\''), ..] => (mark, 1),
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b'r', ..] => (b'\r', 1),
        [b'b', ..] => (0x08, 1),
        [b'f', ..] => (0x0c, 1),
        [b'v', ..] => (0x0b, 1),
        _ => (b'\\', 0),
    };
    bytes.push(byte);
    &text[length..]
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

fn hex(digits: &[u8]) -> u32 {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default();
    digits.iter().fold(0, |number, byte| number * 16 + digit(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_what_servers_write() {
        let check = |text, expect| assert_eq!(unescape(text), expect, "{text}");
        check(r"plain", "plain");
        check(r#"say \"hi\""#, "say \"hi\"");
        check(r"a\\b", "a\\b");
        check(r"\x22\x5C", "\"\\");
        check(r"\xc3\xa9\n\t", "é\n\t");
        check(r"\xff!", "\u{fffd}!");
        check(r"\u00e9\u001f", "é\u{1f}");
        check(r"\ud800", "\\ud800");
        check(r"\x2", "\\x2");
        check(r"\xzz", "\\xzz");
        check(r"\q\", "\\q\\");
        check("é\\x41", "éA");
    }
}
