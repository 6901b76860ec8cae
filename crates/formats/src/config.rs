//! The settings of a format, as a pipeline file or a command line gives them.
//!
//! Every doc comment here is the user's documentation of the setting.

use std::borrow::Cow;
use std::fmt;

use contract::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Access log of Apache and nginx: address, identity, user, time, request, status, bytes,
    /// referrer, user agent, and where it stands the response time in milliseconds.
    Combined,
    /// As `combined`, without referrer and user agent.
    Common,
    /// As `combined`, with the virtual host in front.
    VhostCombined,
    /// Access log in the form that `log_format` describes.
    Custom,
    /// One JSON object per line.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// What the named groups of `pattern` match.
    Regex,
}

/// All formats with their names in a pipeline file.
const FORMATS: [(&str, Format); 7] = [
    ("combined", Format::Combined),
    ("common", Format::Common),
    ("vhost_combined", Format::VhostCombined),
    ("custom", Format::Custom),
    ("json", Format::Json),
    ("logfmt", Format::Logfmt),
    ("regex", Format::Regex),
];

/// The names of all formats.
pub fn formats() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|(name, _)| *name)
}

impl Format {
    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// The name that a pipeline file uses.
    pub fn name(self) -> &'static str {
        let found = FORMATS.iter().find(|(_, format)| *format == self);
        found.map(|(name, _)| *name).expect("every format stands in the list")
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text. A JSON number or truth is taken as it is written.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A time, stored as UTC microseconds; see `time_format`.
    Timestamp,
    /// Any JSON value, kept as its text.
    Json,
}

/// Fields with their types, in the order of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, FieldType)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("fields with their types, such as `{status: integer}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<FieldType>();
        schemars::json_schema!({ "type": "object", "additionalProperties": one })
    }
}

/// How lines are written and which columns come of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FormatConfig {
    /// How a line is written.
    pub format: Format,

    /// For `custom`: Apache's `LogFormat` or nginx's `log_format` as the server's own
    /// configuration has it, such as `%h %l %u %t "%r" %>s %b`.
    #[serde(default)]
    pub log_format: Option<String>,

    /// For `regex`: a regular expression whose named groups become columns, such as
    /// `^(?<level>\w+) (?<text>.*)$`. It may match anywhere in the line unless it is anchored.
    #[serde(default)]
    pub pattern: Option<String>,

    /// For `json`, `logfmt` and `regex`: the fields that become columns, with their types. For
    /// `json`, `a.b` is the field `b` of the object `a`, and its column is `a_b`. A group of
    /// `regex` that is not named here is text.
    #[serde(default)]
    pub fields: Option<Fields>,

    /// For `json` and `logfmt`: a column that keeps everything else of the line as a JSON object.
    #[serde(default)]
    pub rest: Option<String>,

    /// How fields of type `timestamp` are written: `unix`, `unix_ms`, `unix_us`, or a pattern of
    /// strftime such as `%Y-%m-%d %H:%M:%S`. Left out: RFC 3339 (UTC where no offset stands), or a
    /// number of seconds, milliseconds, microseconds or nanoseconds since 1970, by its size.
    #[serde(default)]
    pub time_format: Option<String>,
}

impl FormatConfig {
    /// A format with no other setting.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            log_format: None,
            pattern: None,
            fields: None,
            rest: None,
            time_format: None,
        }
    }

    /// Refuses settings that the format does not read.
    pub(crate) fn check(&self) -> Result<()> {
        use Format::{Custom, Json, Logfmt, Regex};
        let settings: [(&str, bool, &[Format]); 5] = [
            ("log_format", self.log_format.is_some(), &[Custom]),
            ("pattern", self.pattern.is_some(), &[Regex]),
            ("fields", self.fields.is_some(), &[Json, Logfmt, Regex]),
            ("rest", self.rest.is_some(), &[Json, Logfmt]),
            ("time_format", self.time_format.is_some(), &[Json, Logfmt, Regex]),
        ];
        for (name, set, formats) in settings {
            if set && !formats.contains(&self.format) {
                let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
                let message = format!("format {:?} has no {name:?}", self.format.name());
                return Err(Error::config(message)
                    .field(name)
                    .hint(format!("{name:?} belongs to {}", names.join(", "))));
            }
        }
        Ok(())
    }

    /// The fields, which `json` and `logfmt` cannot do without.
    pub(crate) fn required_fields(&self) -> Result<&Fields> {
        self.fields.as_ref().filter(|fields| !fields.0.is_empty()).ok_or_else(|| {
            let message = format!("format {:?} needs the columns to make", self.format.name());
            Error::config(message)
                .field("fields")
                .hint("list them with their types: `fields: {time: timestamp, status: integer}`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name() {
        for name in formats() {
            assert_eq!(Format::named(name).map(Format::name), Some(name));
            let read: Format = serde_json::from_value(name.into()).expect("serde knows it too");
            assert_eq!(read.name(), name);
        }
    }

    #[test]
    fn fields_keep_the_order_of_the_file() {
        let text = r#"{"format": "json", "fields": {"z": "text", "a": "integer", "m": "json"}}"#;
        let config: FormatConfig = serde_json::from_str(text).expect("it is valid");
        let names: Vec<_> = config.fields.unwrap().0.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["z", "a", "m"]);
    }

    #[test]
    fn a_setting_of_another_format_is_refused() {
        let config =
            FormatConfig { pattern: Some("(?<a>.)".into()), ..FormatConfig::new(Format::Combined) };
        let error = config.check().expect_err("combined has no pattern");
        assert_eq!(error.to_string(), "format \"combined\" has no \"pattern\"");
        assert_eq!(error.hint_text(), Some("\"pattern\" belongs to regex"));
    }
}
