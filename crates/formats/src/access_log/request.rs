//! Takes a request line apart, without changing a byte of it.

use std::ops::Range;

use memchr::memchr;

use super::scan::find;

/// Longer words are no methods; the longest registered one has 17 letters.
const METHOD_BYTES_MAX: usize = 24;

/// Where the parts of a request stand in its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The method; none if the request is not HTTP.
    pub method: Option<Range<usize>>,
    /// What is asked for; the whole text if the request is not HTTP.
    pub target: Range<usize>,
    /// The protocol; none in HTTP/0.9.
    pub protocol: Option<Range<usize>>,
}

/// Splits `GET /path HTTP/1.1`, HTTP/0.9's `GET /path`, or anything else.
#[inline(always)]
pub fn split(text: &str) -> Request {
    let bytes = text.as_bytes();
    let raw = Request { method: None, target: 0..bytes.len(), protocol: None };
    let Some(first) = find(b' ', bytes).filter(|first| is_method(bytes, *first)) else {
        return raw;
    };
    let method = Some(0..first);
    let rest = first + 1;
    match protocol(&bytes[rest..]).map(|at| rest + at) {
        Some(at) => Request { method, target: rest..at - 1, protocol: Some(at..bytes.len()) },
        None if bytes[rest..].starts_with(b"/") && memchr(b' ', &bytes[rest..]).is_none() => {
            Request { method, target: rest..bytes.len(), protocol: None }
        }
        None => raw,
    }
}

/// Where the protocol begins, behind the last blank and at least a byte of target before that.
#[inline]
fn protocol(rest: &[u8]) -> Option<usize> {
    if let [.., _, b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] = rest {
        return Some(rest.len() - "HTTP/1.1".len());
    }
    let of_length = |length| {
        let at = rest.len().checked_sub(length).filter(|at| *at > 1)?;
        (rest[at - 1] == b' ' && is_protocol(&rest[at..])).then_some(at)
    };
    of_length("HTTP/1.1".len()).or_else(|| of_length("HTTP/2".len()))
}

/// Whether the first so many bytes are a method.
#[inline]
fn is_method(text: &[u8], length: usize) -> bool {
    let may_stand = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_');
    match text.first_chunk() {
        Some(eight) if (1..=eight.len()).contains(&length) && is_letters(*eight, length) => true,
        _ => (1..=METHOD_BYTES_MAX).contains(&length) && text[..length].iter().all(may_stand),
    }
}

/// Whether the first one to eight bytes are letters; all at once, as a loop's end would be guessed
/// wrong.
#[inline]
fn is_letters(text: [u8; 8], length: usize) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = LOW << 7;
    let text = u64::from_le_bytes(text) | (LOW * u64::from(b' '));
    let from_a = (text & !HIGH) + LOW * u64::from(0x80 - b'a');
    let past_z = (text & !HIGH) + LOW * u64::from(0x80 - b'z' - 1);
    let letters = from_a & !past_z & !text & HIGH;
    letters << (64 - 8 * length) == HIGH << (64 - 8 * length)
}

fn is_protocol(word: &[u8]) -> bool {
    match word.strip_prefix(b"HTTP/") {
        Some([major]) => major.is_ascii_digit(),
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: (Option<&str>, &str, Option<&str>)) {
        let request = split(text);
        let part = |range: Option<Range<usize>>| range.map(|range| &text[range]);
        assert_eq!(
            (part(request.method), &text[request.target], part(request.protocol)),
            expect,
            "{text}"
        );
    }

    #[test]
    fn splits_what_is_http_and_keeps_the_rest_whole() {
        check("GET / HTTP/1.1", (Some("GET"), "/", Some("HTTP/1.1")));
        check("GET /a b?c d HTTP/2", (Some("GET"), "/a b?c d", Some("HTTP/2")));
        check("M-SEARCH * HTTP/1.1", (Some("M-SEARCH"), "*", Some("HTTP/1.1")));
        check("CONNECT a:443 HTTP/1.0", (Some("CONNECT"), "a:443", Some("HTTP/1.0")));
        check("GET /old", (Some("GET"), "/old", None));
        for raw in [
            "",
            " ",
            "GET",
            "GET ",
            "GET  HTTP/1.1",
            " / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/x",
            "GET / RTSP/1.0",
            "GET / a",
            "quit now",
            "\\x16\\x03\\x01 / HTTP/1.1",
            "G\u{e9}T / HTTP/1.1",
        ] {
            check(raw, (None, raw, None));
        }
    }
}
