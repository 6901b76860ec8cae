//! Reads what a field holds: numbers, times, lists; and says whether text may be such a field.

use super::kind::{Items, Kind};
use super::layout::{End, Escape, Field};
use super::request;
use super::scan::find;
use crate::timestamp::ClfClock;

/// The number of a field that holds none.
pub const ABSENT: i64 = i64::MIN;

/// Milliseconds in nanoseconds.
const MILLISECOND_NS: i64 = 1_000_000;

const SECOND_NS: i64 = 1_000_000_000;

/// How strictly a field without quotes is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A request has three words, a list of addresses nothing but addresses.
    Strict,
    /// They may be anything: what clients send is.
    Lenient,
}

/// The number or time of a field: 0 for a kind that has none, [`ABSENT`] where there is none; none
/// where it should hold one and does not.
#[inline(always)]
pub fn value(field: &Field, clock: &mut ClfClock, text: &str) -> Option<i64> {
    match &field.kind {
        Kind::Text | Kind::Word | Kind::Request | Kind::Target | Kind::Query => Some(0),
        Kind::Label(_) | Kind::Mark => Some(0),
        Kind::Address if text.is_empty() => may_lack(field).then_some(0),
        Kind::Address => (!holds_comma(text.as_bytes())).then_some(0),
        Kind::ClfTime if field.required => clock.parse(text.as_bytes().try_into().ok()?),
        Kind::Addresses { .. } => Some(find(b',', text.as_bytes()).unwrap_or(text.len()) as i64),
        _ if is_missing(field, text) => Some(ABSENT),
        Kind::ClfTime => clock.parse(text.as_bytes().try_into().ok()?),
        Kind::Time(format) => format.parse(text),
        Kind::Status if text.len() != 3 => None,
        Kind::Status | Kind::Integer => integer(text.as_bytes()),
        Kind::Float => float(text),
        Kind::Duration(unit_ns) => duration_ms(text, *unit_ns),
        Kind::List(items) => list(text, *items),
    }
}

/// Whether nothing may stand where there is always something to say.
fn may_lack(field: &Field) -> bool {
    field.escape != Escape::Backslash || field.end == End::Quote
}

/// Whether a number or a time says that there is none: `-`, `-1` where it cannot be negative, or
/// nothing.
#[inline]
fn is_missing(field: &Field, text: &str) -> bool {
    match text.as_bytes() {
        _ if field.required => false,
        b"-" => true,
        b"-1" => !matches!(field.kind, Kind::Float),
        // nginx writes `-` for a list that is empty.
        [] if matches!(field.kind, Kind::List(_)) => may_lack(field),
        [] => field.may_be_empty,
        _ => false,
    }
}

/// Whether text without quotes may be this field, as far as [`value`] does not say that.
pub fn fits(field: &Field, text: &str, reading: Reading) -> bool {
    match (&field.kind, reading) {
        (Kind::Request, Reading::Strict) => text == "-" || is_request(text),
        (Kind::Addresses { .. }, Reading::Strict) => text.split(',').all(|item| {
            let item = item.trim_start_matches(' ');
            !item.is_empty() && !item.contains([' ', '"'])
        }),
        (kind, _) if kind.holds(b' ').is_none() => true,
        (kind, _) => text.bytes().all(|byte| kind.holds(byte).unwrap_or(true)),
    }
}

/// Whether the text is a request of three words.
fn is_request(text: &str) -> bool {
    let request = request::split(text);
    request.protocol.is_some() && find(b' ', &text.as_bytes()[request.target]).is_none()
}

/// [`value`] of most addresses; none for the others.
#[inline]
pub fn quick_address(text: &[u8]) -> Option<i64> {
    (!text.is_empty() && !holds_comma(text)).then_some(0)
}

/// [`value`] of most statuses; none for the others.
#[inline]
pub fn quick_status(text: &[u8]) -> Option<i64> {
    let digits: &[u8; 3] = text.try_into().ok()?;
    let [hundreds, tens, ones] = digits.map(|digit| i64::from(digit.wrapping_sub(b'0')));
    let is_digits = (hundreds < 10) & (tens < 10) & (ones < 10);
    is_digits.then_some(hundreds * 100 + tens * 10 + ones)
}

/// Whether there is a comma in an address; eight bytes at a time, the last of them twice.
#[inline]
fn holds_comma(text: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let has_comma = |eight: &[u8; 8]| {
        let differing = u64::from_le_bytes(*eight) ^ (LOW * u64::from(b','));
        differing.wrapping_sub(LOW) & !differing & (LOW << 7) != 0
    };
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if text.len() <= 16 => has_comma(first) | has_comma(last),
        _ => find(b',', text).is_some(),
    }
}

/// A whole number of nothing but digits.
#[inline]
pub fn integer(digits: &[u8]) -> Option<i64> {
    match digits.len() {
        0 => None,
        1..=8 => short_integer(digits),
        _ => long_integer(digits),
    }
}

/// The same for up to eight digits, all at once: how many there are differs from line to line.
#[inline]
fn short_integer(digits: &[u8]) -> Option<i64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let text = right_aligned(digits)? ^ ZEROS;
    let is_digits = (text | text.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0 == 0;
    let pairs = text.wrapping_mul(10).wrapping_add(text >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let number = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    is_digits.then_some(number as i64)
}

fn long_integer(digits: &[u8]) -> Option<i64> {
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

/// One to eight bytes as a number, the last one its highest, with zeros before the first.
#[inline]
fn right_aligned(digits: &[u8]) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let length = digits.len() as u32;
    let text = match (digits.first_chunk(), digits.last_chunk()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | (u64::from(last) << (8 * (length - 4)))
        }
        _ => {
            let first = u64::from(*digits.first()?);
            let middle = u64::from(digits[digits.len() / 2]) << (8 * (length / 2));
            first | middle | (u64::from(*digits.last()?) << (8 * (length - 1)))
        }
    };
    let missing = 64 - 8 * length;
    Some((text << missing) | ZEROS.checked_shr(8 * length).unwrap_or_default())
}

/// A number as its bits.
fn float(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok()?;
    // Zero has one sign, so that no number has the bits of `ABSENT`.
    let number = if number == 0.0 { 0.0 } else { number };
    number.is_finite().then_some(number.to_bits() as i64)
}

fn duration_ms(text: &str, unit_ns: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut nanos = integer(whole.as_bytes())?.checked_mul(unit_ns)?;
    let mut place_ns = unit_ns;
    for byte in fraction.bytes() {
        place_ns /= 10;
        nanos = nanos.checked_add(integer(&[byte])? * place_ns)?;
    }
    Some(nanos / MILLISECOND_NS)
}

/// What a list comes to; none if an item is not of its kind.
///
/// Servers are separated by `, `, groups of them by ` : `
/// (<https://nginx.org/en/docs/http/ngx_http_upstream_module.html#var_upstream_addr>).
fn list(text: &str, items: Items) -> Option<i64> {
    let mut total = ABSENT;
    for item in text.split(" : ").flat_map(|group| group.split(", ")) {
        let number = match item {
            "-" => ABSENT,
            _ => match items {
                Items::Labels if item.is_empty() || item.contains([' ', '"', ',']) => return None,
                Items::Labels => ABSENT,
                Items::Seconds => duration_ms(item, SECOND_NS)?,
                Items::Sizes => integer(item.as_bytes())?,
                Items::Statuses if item.len() != 3 => return None,
                Items::Statuses => integer(item.as_bytes())?,
            },
        };
        total = match (items, total) {
            (Items::Statuses, _) | (_, ABSENT) => number,
            (_, total) if number == ABSENT => total,
            (_, total) => total.checked_add(number)?,
        };
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_nothing_but_digits() {
        for length in 1..=9 {
            let digits = &"120456789"[..length];
            assert_eq!(integer(digits.as_bytes()), digits.parse().ok(), "{digits}");
            for at in 0..length {
                for sign in ["/", ":", "-", " ", "a", "\u{7f}", "0", "9"] {
                    let text = format!("{}{sign}{}", &digits[..at], &digits[at + 1..]);
                    assert_eq!(integer(text.as_bytes()), text.parse().ok().filter(|_| sign != "-"));
                }
            }
        }
        assert_eq!(integer(b""), None);
        assert_eq!(integer("\u{e9}".as_bytes()), None);
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"9223372036854775808"), None);
    }

    #[test]
    fn a_comma_is_found_at_every_place() {
        for length in 1..40 {
            let text = "1".repeat(length);
            assert!(!holds_comma(text.as_bytes()), "{length}");
            for at in 0..length {
                let text = format!("{},{}", &text[..at], &text[at + 1..]);
                assert!(holds_comma(text.as_bytes()), "{text}");
            }
        }
    }

    #[test]
    fn a_list_comes_to_one_number() {
        let check = |items, text: &str, expect| assert_eq!(list(text, items), expect, "{text}");
        check(Items::Seconds, "0.001", Some(1));
        check(Items::Seconds, "0.100, 0.200 : -, 1.5", Some(1_800));
        check(Items::Seconds, "-, -", Some(ABSENT));
        check(Items::Seconds, "0.1,", None);
        check(Items::Seconds, "0.1 0.2", None);
        check(Items::Sizes, "10, 20 : 30", Some(60));
        check(Items::Statuses, "502, 200", Some(200));
        check(Items::Statuses, "200 : -", Some(ABSENT));
        check(Items::Statuses, "20", None);
        check(Items::Labels, "192.0.2.1:80, unix:/tmp/sock : [::1]:80", Some(ABSENT));
        check(Items::Labels, "192.0.2.1:80,", None);
        check(Items::Labels, "a b", None);
    }
}
