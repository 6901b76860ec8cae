//! Settings with a unit: sizes (`256MiB`, `10MB`, `4096`) and durations (`200ms`, `10s`, `5m`).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const SIZE_UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Milliseconds of each unit of a duration.
const DURATION_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A number of bytes: a whole number with `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB` or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// As a number that can index memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads `256MiB`.
    pub fn parse(text: &str) -> Option<Self> {
        with_unit(text, SIZE_UNITS, Some(1)).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(
            formatter,
            self.0,
            &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)],
            "B",
        )
    }
}

/// A length of time: a whole number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// A period of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A period of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Reads `10s`.
    pub fn parse(text: &str) -> Option<Self> {
        with_unit(text, DURATION_UNITS, None).map(Self::from_millis)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        write_with_unit(formatter, millis, &units, "ms")
    }
}

fn with_unit(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" => bare?,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(factor)
}

fn write_with_unit(
    formatter: &mut fmt::Formatter<'_>,
    number: u64,
    units: &[(&str, u64)],
    smallest: &str,
) -> fmt::Result {
    match units.iter().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(formatter, "{}{unit}", number / factor),
        None => write!(formatter, "{number}{smallest}"),
    }
}

/// Implements the serde and schemars sides of a quantity.
macro_rules! setting {
    ($type:ident, $name:literal, $expecting:literal, $pattern:literal, $from_number:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Quantity;
                impl Visitor<'_> for Quantity {
                    type Value = $type;
                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        let unexpected = serde::de::Unexpected::Str(text);
                        $type::parse(text).ok_or_else(|| E::invalid_value(unexpected, &self))
                    }
                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                        let convert: fn(u64) -> Option<$type> = $from_number;
                        convert(number).ok_or_else(|| {
                            E::invalid_type(serde::de::Unexpected::Unsigned(number), &self)
                        })
                    }
                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                        match u64::try_from(number) {
                            Ok(number) => self.visit_u64(number),
                            Err(_) => Err(E::custom(concat!("negative, expected ", $expecting))),
                        }
                    }
                }
                from.deserialize_any(Quantity).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["string", "integer"], "pattern": $pattern, "title": $name })
            }
        }
    };
}

setting!(
    ByteSize,
    "size",
    "a size such as `256MiB` or `10MB`",
    "^[0-9]+ ?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?$",
    |number| Some(ByteSize(number))
);
setting!(
    Period,
    "duration",
    "a duration such as `200ms`, `10s` or `5m`",
    "^[0-9]+ ?(ms|s|m|h|d)$",
    |number| (number == 0).then_some(Period(Duration::ZERO))
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_what_they_write() {
        for text in ["256MiB", "1GiB", "1000B", "4KiB"] {
            assert_eq!(ByteSize::parse(text).expect("a size").to_string(), text);
        }
        assert_eq!(ByteSize::parse("10 MB"), Some(ByteSize(10_000_000)));
        assert_eq!(ByteSize::parse("4096"), Some(ByteSize(4096)));
        assert_eq!(ByteSize::parse("10 parsecs"), None);
    }

    #[test]
    fn durations_need_a_unit() {
        for text in ["200ms", "10s", "5m", "36h"] {
            assert_eq!(Period::parse(text).expect("a duration").to_string(), text);
        }
        assert_eq!(Period::parse("10"), None);
    }
}
