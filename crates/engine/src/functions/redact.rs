//! `redact(text[, what])`: masks e-mail addresses, card numbers and IP addresses, or a pattern.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use regex::{Captures, Regex};

use super::{Definition, Kind, Parameters, Prepared, invalid, text, value};

pub(super) const REDACT: Definition = Definition {
    name: "redact",
    parameters: Parameters::Fixed {
        list: &[("text", Kind::Text), ("what", Kind::Text)],
        required: 1,
    },
    returns: DataType::Utf8View,
    checked: Some((1, |what| What::read(what).map(drop))),
    evaluate: redact,
};

/// What is masked where the second argument is left out.
const EVERYTHING: &str = "all";

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"[A-Za-z0-9._%+\-]+(?:@|%40)[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+"));

/// 13 to 19 digits, in groups or not; [`is_card`] decides.
static CARD: LazyLock<Regex> = LazyLock::new(|| fixed(r"\b\d(?:[ \-]?\d){12,18}\b"));

/// What may be an address of either family; parsing decides.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    fixed(
        r"(?x) \b\d{1,3}(?:\.\d{1,3}){3}\b
             | [0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}",
    )
});

fn fixed(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that a test compiles")
}

enum What {
    Everything,
    Email,
    Card,
    Address,
    Pattern(Regex),
}

impl What {
    fn read(name: &str) -> Result<Self> {
        Ok(match name {
            EVERYTHING => Self::Everything,
            "email" => Self::Email,
            "card" => Self::Card,
            "ip" => Self::Address,
            pattern => Self::Pattern(Regex::new(pattern).map_err(|error| {
                let expected = "neither all, email, card or ip nor a pattern";
                invalid(format!("{pattern:?} is {expected}: {error}"))
            })?),
        })
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Email => EMAIL.replace_all(text, "[email]"),
            Self::Card => mask_where(&CARD, text, is_card, "[card]"),
            Self::Address => mask_where(&ADDRESS, text, is_address, "[ip]"),
            Self::Pattern(pattern) => pattern.replace_all(text, "[redacted]"),
            Self::Everything => {
                let without_email = Self::Email.mask(text);
                let without_card = Self::Card.mask(&without_email);
                Cow::Owned(Self::Address.mask(&without_card).into_owned())
            }
        }
    }
}

fn mask_where<'a>(
    pattern: &Regex,
    text: &'a str,
    holds: fn(&str) -> bool,
    mask: &str,
) -> Cow<'a, str> {
    pattern.replace_all(text, |found: &Captures<'_>| match holds(&found[0]) {
        true => mask.to_owned(),
        false => found[0].to_owned(),
    })
}

/// The check digit of Luhn, which every card number has and one number in ten by chance.
fn is_card(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).rev();
    let sum: u32 = digits
        .map(|digit| u32::from(digit - b'0'))
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn redact(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let texts = text(arguments, 0);
    let whats = (arguments.len() > 1).then(|| text(arguments, 1));
    let mut prepared = Prepared::new();
    let mut masked = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let what = whats.map_or(Some(EVERYTHING), |whats| value(whats, row));
        let (Some(text), Some(what)) = (value(texts, row), what) else {
            masked.append_null();
            continue;
        };
        masked.append_value(prepared.get(what, What::read)?.mask(text));
    }
    Ok(Arc::new(masked.finish()))
}
