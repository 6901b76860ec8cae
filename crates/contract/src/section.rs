//! A section of a pipeline file: a tree of values that remember their line and column.
//!
//! `plan` makes it from YAML; a connector reads its settings from it with
//! [`Section::read`], and every error names the place, the setting and, where a name is close, the
//! one that was meant.

use std::sync::Arc;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Unexpected, Visitor};

use crate::error::{Error, Place, Result};

/// A value in a pipeline file, with its place.
#[derive(Clone, PartialEq)]
pub struct Section {
    place: Place,
    value: Value,
    secret: bool,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// `[a, b]`.
    List(Vec<Section>),
    /// `{a: 1, b: 2}`, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key stands.
    pub place: Place,
    /// What it is set to.
    pub value: Section,
}

impl Section {
    /// A value at a place.
    pub fn new(place: Place, value: Value) -> Self {
        Self { place, value, secret: false }
    }

    /// A text that neither an error nor `Debug` may show.
    pub fn secret(place: Place, text: impl Into<Arc<str>>) -> Self {
        Self { place, value: Value::Text(text.into()), secret: true }
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What stands here.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text that stands here, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The keys and values that stand here; empty for everything but a map.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What a key is set to.
    pub fn get(&self, key: &str) -> Option<&Section> {
        self.entries().iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }

    /// The same section without some keys, which somebody else reads.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let kept = self.entries().iter().filter(|entry| !keys.contains(&&*entry.key));
        Self::new(self.place.clone(), Value::Map(kept.cloned().collect()))
    }

    /// The same section with other texts in it: `replace` gives a new text, or none to keep it.
    #[must_use]
    pub fn with_texts(&self, replace: &dyn Fn(&str) -> Option<String>) -> Self {
        let value = match &self.value {
            Value::Text(text) => Value::Text(replace(text).map_or(text.clone(), Arc::from)),
            Value::List(items) => {
                Value::List(items.iter().map(|item| item.with_texts(replace)).collect())
            }
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|entry| Entry { value: entry.value.with_texts(replace), ..entry.clone() })
                    .collect(),
            ),
            other => other.clone(),
        };
        Self::new(self.place.clone(), value)
    }

    /// Reads settings into their type. Unknown keys are errors where the type says
    /// `deny_unknown_fields`. `enum`s are read as plain text; no `flatten`, no `tag`.
    ///
    /// # Errors
    /// Config, with place, setting and a hint.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(Reader(self)).map_err(|failure| failure.into_error(self))
    }

    /// Reads settings of which some are of a type that other sections share: each key goes to the
    /// type that has it, and both are as strict as [`Section::read`].
    ///
    /// # Errors
    /// As for [`Section::read`]; the hint for an unknown key knows both types.
    pub fn read_with<P: DeserializeOwned, T: DeserializeOwned>(&self) -> Result<(P, T)> {
        let shared = keys_of::<P>();
        let own = self.without(shared);
        let rest = T::deserialize(Reader(&own)).map_err(|mut failure| {
            if let (Some(unknown), true) = (&failure.unknown, failure.path.is_empty()) {
                let known = keys_of::<T>().iter().chain(shared).copied();
                failure.hint = Some(Self::did_you_mean(unknown, known));
            }
            failure.into_error(&own)
        })?;
        Ok((self.only(shared).read()?, rest))
    }

    fn only(&self, keys: &[&str]) -> Self {
        let kept = self.entries().iter().filter(|entry| keys.contains(&&*entry.key));
        Self::new(self.place.clone(), Value::Map(kept.cloned().collect()))
    }

    /// The hint for a word that is not among those allowed.
    pub fn did_you_mean<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
        let allowed: Vec<_> = allowed.into_iter().collect();
        let close = allowed
            .iter()
            .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase()), name))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match close {
            Some((_, name)) => format!("did you mean {name:?}?"),
            None if allowed.is_empty() => "no key is allowed here".to_owned(),
            None => format!("allowed: {}", allowed.join(", ")),
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Null => Unexpected::Other("nothing"),
            Value::Bool(flag) => Unexpected::Bool(*flag),
            Value::Integer(number) => Unexpected::Signed(*number),
            Value::Float(number) => Unexpected::Float(*number),
            Value::Text(text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Other("a list"),
            Value::Map(_) => Unexpected::Other("a map"),
        }
    }
}

impl std::fmt::Debug for Section {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.secret {
            return formatter.write_str("a secret");
        }
        write!(formatter, "{:?}", self.value)
    }
}

/// The default of a setting that is on unless it is turned off.
pub fn yes() -> bool {
    true
}

/// What serde says, before it has a place.
#[derive(Debug)]
struct Failure {
    message: String,
    hint: Option<String>,
    /// The key that is unknown, to be found again in its map.
    unknown: Option<String>,
    place: Option<Place>,
    path: Vec<String>,
}

impl Failure {
    fn plain(message: String) -> Self {
        Self { message, hint: None, unknown: None, place: None, path: Vec::new() }
    }

    /// Settles the place, from the inside out: the first section that an error passes is the
    /// closest one.
    fn seen_at(mut self, section: &Section) -> Self {
        if section.secret {
            self = Self::plain("the secret does not fit this setting".to_owned());
        }
        if self.place.is_none() {
            let entry = self
                .unknown
                .as_deref()
                .and_then(|unknown| section.entries().iter().find(|entry| &*entry.key == unknown));
            self.place = Some(entry.map_or(&section.place, |entry| &entry.place).clone());
        }
        self
    }

    fn inside(mut self, key: &str) -> Self {
        self.path.push(key.to_owned());
        self
    }

    fn into_error(self, section: &Section) -> Error {
        let mut failure = self.seen_at(section);
        failure.path.reverse();
        let mut error = Error::config(failure.message);
        if let Some(place) = &failure.place {
            error = error.at(place);
        }
        if !failure.path.is_empty() {
            error = error.field(failure.path.join("."));
        }
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::plain(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match unexpected {
            Unexpected::Other(other) => other.to_owned(),
            Unexpected::Map => "a map".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Unit => "nothing".to_owned(),
            other => other.to_string(),
        };
        let plain = Self::plain(format!("expected {expected}, found {found}"));
        let hint = match unexpected {
            Unexpected::Unsigned(value) => Some(in_quotes(value)),
            Unexpected::Signed(value) => Some(in_quotes(value)),
            Unexpected::Float(value) => Some(in_quotes(value)),
            Unexpected::Bool(value) => Some(in_quotes(value)),
            _ => None,
        };
        Self { hint: hint.filter(|_| expected.to_string() == "a string"), ..plain }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            hint: Some(Section::did_you_mean(field, expected.iter().copied())),
            unknown: Some(field.to_owned()),
            ..Self::plain(format!("unknown key {field:?}"))
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            hint: Some(Section::did_you_mean(variant, expected.iter().copied())),
            ..Self::plain(format!("unknown value {variant:?}"))
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            hint: Some(format!("add `{field}: …`")),
            ..Self::plain(format!("the key {field:?} is missing"))
        }
    }
}

fn in_quotes(value: impl std::fmt::Display) -> String {
    format!("text stands in quotes: \"{value}\"")
}

/// The side of a section that serde sees.
struct Reader<'de>(&'de Section);

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Failure> {
        let result = match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), at: 0 }),
            Value::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), next: None })
            }
        };
        result.map_err(|failure: Failure| failure.seen_at(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Failure> {
        match self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Failure> {
        match &self.0.value {
            Value::Text(text) => visitor
                .visit_enum(de::value::StrDeserializer::<Failure>::new(text))
                .map_err(|failure| failure.seen_at(self.0)),
            _ => Err(de::Error::invalid_type(self.0.unexpected(), &"a word")),
        }
        .map_err(|failure: Failure| failure.seen_at(self.0))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The keys of a struct, which serde names when it is asked to read one.
fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    T::deserialize(Asking).err().map_or(&[], |Keys(keys)| keys)
}

struct Asking;

/// The keys of a struct, as the error of reading it.
#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl std::fmt::Display for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl std::error::Error for Keys {}

impl de::Error for Keys {
    fn custom<T: std::fmt::Display>(_message: T) -> Self {
        Self(&[])
    }
}

impl<'de> de::Deserializer<'de> for Asking {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> std::result::Result<V::Value, Keys> {
        Err(Keys(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        option unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Section>,
    at: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> std::result::Result<Option<T::Value>, Failure> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Reader(item))
            .map(Some)
            .map_err(|failure| failure.seen_at(item).inside(&at.to_string()))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    next: Option<&'de Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, Failure> {
        self.next = self.entries.next();
        let Some(entry) = self.next else { return Ok(None) };
        seed.deserialize(de::value::StrDeserializer::<Failure>::new(&entry.key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> std::result::Result<T::Value, Failure> {
        let entry = self.next.take().expect("serde asks for a value after its key");
        seed.deserialize(Reader(&entry.value))
            .map_err(|failure| failure.seen_at(&entry.value).inside(&entry.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Period;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "the test reads errors, not values")]
    struct Config {
        paths: Vec<String>,
        #[serde(default)]
        every: Option<Period>,
        #[serde(default)]
        mode: Option<Mode>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Batch,
        Follow,
    }

    fn text(line: usize, text: &str) -> Section {
        Section::new(place(line, 10), Value::Text(text.into()))
    }

    fn place(line: usize, column: usize) -> Place {
        Place { file: "p.yaml".into(), line, column }
    }

    fn check(entries: Vec<(&str, Section)>, expect: &str) {
        let entries = entries.into_iter().map(|(key, value)| Entry {
            key: key.into(),
            place: Place { column: 3, ..value.place.clone() },
            value,
        });
        let section = Section::new(place(1, 1), Value::Map(entries.collect()));
        let said = match section.read::<Config>() {
            Ok(config) => format!("{:?}", config.mode),
            Err(error) => format!(
                "{} {} {} {}",
                error.place().expect("a place"),
                error.field_name().unwrap_or("-"),
                error,
                error.hint_text().unwrap_or("-")
            ),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Section::secret(place(5, 10), "hunter2");
        check(
            vec![("every", secret.clone())],
            "p.yaml:5:10 every the secret does not fit this setting -",
        );
        assert_eq!(format!("{secret:?}"), "a secret");
        assert_eq!(secret.read::<String>().expect("a text"), "hunter2");
    }

    #[test]
    fn errors_name_place_setting_and_the_way_out() {
        let paths = || {
            let list = vec![text(2, "a.log")];
            ("paths", Section::new(place(2, 10), Value::List(list)))
        };
        check(vec![paths(), ("mode", text(3, "follow"))], "Some(Follow)");
        check(
            vec![paths(), ("pathz", text(3, "x"))],
            "p.yaml:3:3 - unknown key \"pathz\" did you mean \"paths\"?",
        );
        check(
            vec![paths(), ("mode", text(4, "folow"))],
            "p.yaml:4:10 mode unknown value \"folow\" did you mean \"follow\"?",
        );
        check(
            vec![paths(), ("every", text(5, "10"))],
            "p.yaml:5:10 every invalid value: string \"10\", expected a duration such as `200ms`, \
             `10s` or `5m` -",
        );
        check(vec![], "p.yaml:1:1 - the key \"paths\" is missing add `paths: …`");
        let list = vec![text(2, "a.log"), Section::new(place(2, 20), Value::Integer(7))];
        check(
            vec![("paths", Section::new(place(2, 10), Value::List(list)))],
            "p.yaml:2:20 paths.1 expected a string, found integer `7` text stands in quotes: \"7\"",
        );
    }

    #[test]
    fn two_types_read_one_section() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Shared {
            region: Option<String>,
            allow_http: bool,
        }
        let read = |key: &str, value: Section| {
            let paths = Section::new(place(2, 10), Value::List(vec![text(2, "a.log")]));
            let entry = |key: &str, value: Section| Entry {
                key: key.into(),
                place: Place { column: 3, ..value.place.clone() },
                value,
            };
            let map = Value::Map(vec![entry(key, value), entry("paths", paths)]);
            Section::new(place(1, 1), map).read_with::<Shared, Config>()
        };
        let (shared, config) = read("region", text(3, "here")).expect("both");
        assert_eq!((shared.region.as_deref(), config.paths.len()), (Some("here"), 1));
        assert!(!shared.allow_http);
        let error = read("alow_http", text(3, "true")).expect_err("unknown");
        let (place, said) = (error.place().expect("a place"), error.chain());
        assert_eq!((place.line, place.column), (3, 3));
        assert!(error.hint_text().is_some_and(|it| it.contains("\"allow_http\"")), "{said}");
        let error = read("allow_http", text(4, "perhaps")).expect_err("no flag");
        assert_eq!(error.place().expect("a place").column, 10);
        assert_eq!(error.field_name(), Some("allow_http"));
    }
}
