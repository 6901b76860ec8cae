//! The settings of a format, as a pipeline file or a command line gives them.
//!
//! Every doc comment here is the user's documentation of the setting.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use contract::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Access log of nginx as its stock configuration has it: `combined` with
    /// `"$http_x_forwarded_for"` behind it.
    Nginx,
    /// Access log of Caddy, as JSON.
    Caddy,
    /// Access log of Traefik in its common format.
    Traefik,
    /// Access log of Traefik, as JSON.
    TraefikJson,
    /// Access log of AWS's Classic Load Balancer.
    Elb,
    /// Access log of AWS's Application Load Balancer.
    Alb,
    /// Server access log of Amazon S3, old lines with fewer fields too.
    S3Access,
    /// HTTP log of HAProxy (`option httplog`), with what syslog puts in front or without. Its times
    /// carry no zone: they are the machine's, and count as UTC unless `time_zone` says where it is.
    Haproxy,
    /// Container logs of Docker's `json-file`, around the lines of another format: see `inner`.
    Docker,
    /// Container logs of containerd and CRI-O, around the lines of another format: see `inner`.
    Cri,
    /// Any line, as the column `message`.
    Text,
    /// What the first lines show. Decided once and kept: see `logmill check`.
    Auto,
}

/// All formats with their names in a pipeline file.
const FORMATS: [(&str, Format); 19] = [
    ("combined", Format::Combined),
    ("common", Format::Common),
    ("vhost_combined", Format::VhostCombined),
    ("custom", Format::Custom),
    ("json", Format::Json),
    ("logfmt", Format::Logfmt),
    ("regex", Format::Regex),
    ("nginx", Format::Nginx),
    ("caddy", Format::Caddy),
    ("traefik", Format::Traefik),
    ("traefik_json", Format::TraefikJson),
    ("elb", Format::Elb),
    ("alb", Format::Alb),
    ("s3_access", Format::S3Access),
    ("haproxy", Format::Haproxy),
    ("docker", Format::Docker),
    ("cri", Format::Cri),
    ("text", Format::Text),
    ("auto", Format::Auto),
];

/// The names of all formats.
pub fn formats() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|(name, _)| *name)
}

/// All formats with what their lines are, one sentence each.
pub fn summaries() -> Vec<(&'static str, String)> {
    let schema = schemars::schema_for!(Format);
    let variants = schema.get("oneOf").and_then(|variants| variants.as_array());
    let described = |name: &str| {
        let variant = variants?.iter().find(|variant| variant["const"] == *name)?;
        let text = variant["description"].as_str()?.replace('\n', " ");
        let end = text.find(". ").map_or(text.len(), |end| end + 1);
        Some(text[..end].trim_end_matches('.').to_owned())
    };
    formats().map(|name| (name, described(name).unwrap_or_default())).collect()
}

impl Format {
    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// Whether each line is an envelope around a line of another format.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Docker | Self::Cri)
    }

    /// The name that a pipeline file uses.
    pub fn name(self) -> &'static str {
        let found = FORMATS.iter().find(|(_, format)| *format == self);
        found.map(|(name, _)| *name).expect("every format stands in the list")
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Any JSON value, kept as its text. Sinks that write JSON write it byte for byte; what SQL
    /// computes of it is text.
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

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, field_type) in &self.0 {
            map.serialize_entry(name, field_type)?;
        }
        map.end()
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FormatConfig {
    /// How a line is written.
    pub format: Format,

    /// For `docker` and `cri`: how the lines inside are written; their settings (`fields`,
    /// `log_format`, …) stand beside it. Left out: `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Format>,

    /// For `custom`: nginx's `log_format` or Apache's `LogFormat` as the server's own configuration
    /// has it, the whole directive with its name, quotes and `escape=`, or its text alone, such as
    /// `%h %l %u %t "%r" %>s %b`. Fields need no quotes and nothing between them as long as each
    /// line can be read in one way only; a line that could be read in two ways is a dead letter.
    /// What nginx says of several upstream servers (`0.1, 0.2 : 0.3`) stays as text, and beside it
    /// stand the sum (`upstream_response_time_ms`, `upstream_response_length_sum`) or the last
    /// status (`upstream_status_last`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,

    /// For `regex`: a regular expression whose named groups become columns, such as
    /// `^(?<level>\w+) (?<text>.*)$`. It may match anywhere in the line unless it is anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,

    /// For `json`, `logfmt` and `regex`: the fields that become columns, with their types. For
    /// `json`, `a.b` is the field `b` of the object `a`, and its column is `a_b`. A group of
    /// `regex` that is not named here is text. Names that differ in case are different fields. A
    /// number, a time or a truth may stand in quotes; `-` and nothing are null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,

    /// For `json`, `logfmt`, `caddy` and `traefik_json`: a column that keeps everything else of the
    /// line as a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,

    /// How fields of type `timestamp` are written: `unix`, `unix_ms`, `unix_us`, or a pattern of
    /// strftime such as `%Y-%m-%d %H:%M:%S %z`. A pattern must give an instant: with a year, and an
    /// hour where it has minutes; without a time of day it is midnight. `%z` reads offsets
    /// (`+02:00`, `+0200`, `+02`, `Z`, `UTC`), `%f` the digits of a fraction. Left out: RFC 3339
    /// (a space may stand for the `T`, the offset or the whole time of day be left out), or a
    /// number of seconds, milliseconds, microseconds or nanoseconds since 1970, by its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_format: Option<String>,

    /// Where the clock stands that writes times without an offset (for `custom` those of
    /// `%{…}t`, for `haproxy` all): a place such as
    /// `Europe/Berlin`, or an offset such as `+01:00`. UTC if left out. An hour that stands twice,
    /// at the end of summer time, is its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,

    /// What the letters of time zones mean that `%Z` in `time_format`, or in `%{…}t` of
    /// `custom`, reads, such as
    /// `{ PST: "-08:00", PDT: "-07:00" }`. `UTC`, `GMT`, `Z` and offsets need no entry; a line with
    /// other letters is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<BTreeMap<String, String>>,
}

impl FormatConfig {
    /// A format with no other setting.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            inner: None,
            log_format: None,
            pattern: None,
            fields: None,
            rest: None,
            time_format: None,
            time_zone: None,
            zones: None,
        }
    }

    /// Refuses settings that the format does not read.
    pub(crate) fn check(&self) -> Result<()> {
        use Format::{Caddy, Custom, Haproxy, Json, Logfmt, Regex, TraefikJson};
        if self.inner.is_some() && !self.format.is_container() {
            return Err(self.foreign("inner", &[Format::Docker, Format::Cri]));
        }
        let reads = if self.format.is_container() { self.inside() } else { self.format };
        let settings: [(&str, bool, &[Format]); 7] = [
            ("log_format", self.log_format.is_some(), &[Custom]),
            ("pattern", self.pattern.is_some(), &[Regex]),
            ("fields", self.fields.is_some(), &[Json, Logfmt, Regex]),
            ("rest", self.rest.is_some(), &[Json, Logfmt, Caddy, TraefikJson]),
            ("time_format", self.time_format.is_some(), &[Json, Logfmt, Regex]),
            ("time_zone", self.time_zone.is_some(), &[Json, Logfmt, Regex, Custom, Haproxy]),
            ("zones", self.zones.is_some(), &[Json, Logfmt, Regex, Custom]),
        ];
        for (name, set, formats) in settings {
            if set && !formats.contains(&reads) {
                return Err(self.foreign(name, formats));
            }
        }
        Ok(())
    }

    fn foreign(&self, setting: &str, formats: &[Format]) -> Error {
        let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
        let own = match self.inner {
            Some(inner) if self.format.is_container() => inner,
            _ => self.format,
        };
        Error::config(format!("format {:?} has no {setting:?}", own.name()))
            .field(setting)
            .hint(format!("{setting:?} belongs to {}", names.join(", ")))
    }

    /// The settings of the lines inside a container's.
    pub(crate) fn of_inside(&self) -> Result<Self> {
        let format = self.inside();
        if format.is_container() {
            let message =
                format!("a container's line cannot stand inside {:?}", self.format.name());
            return Err(Error::config(message).field("inner"));
        }
        Ok(Self { format, inner: None, ..self.clone() })
    }

    fn inside(&self) -> Format {
        self.inner.unwrap_or(Format::Text)
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
    fn every_format_has_a_sentence() {
        for (name, sentence) in summaries() {
            assert!(sentence.len() > 10 && !sentence.ends_with('.'), "{name}: {sentence}");
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
