//! The index and the `_id` of each row.
//!
//! Invariant: both depend on nothing but the row, and no value makes an index of another name than
//! the template's, or an empty `_id`, for which the server would invent one.

use std::fmt::Write;

use arrow::datatypes::Schema;
use contract::record::split_seed;
use contract::{Error, Result};
use formats::template::{Part, Template, Values};

/// Longest `_id`, in bytes: the servers' limit.
const ID_BYTES_MAX: usize = 512;
/// Longest name of an index, in bytes: the servers' limit.
const INDEX_BYTES_MAX: usize = 255;
/// Longest value in the name of an index, in bytes; what is behind it is cut.
const VALUE_BYTES_MAX: usize = 64;

/// What OpenSearch or Elasticsearch keep beside a document and refuse inside of it.
pub const RESERVED: [&str; 9] = [
    "_id",
    "_index",
    "_source",
    "_routing",
    "_version",
    "_seq_no",
    "_field_names",
    "_ignored",
    "_nested_path",
];

/// How rows are named.
#[derive(Debug)]
pub struct Names {
    index: Template,
    id: Option<Template>,
    /// Pipeline and sink: others get other ids for the same split.
    scope: String,
}

impl Names {
    /// Reads the templates of a pipeline's sink.
    ///
    /// # Errors
    /// Config: a template is none, or makes no name of an index.
    pub fn parse(index: &str, id: Option<&str>, pipeline: &str, sink: &str) -> Result<Self> {
        let read = |text: &str, field: &str| {
            Template::parse(text, &[]).map_err(|error| error.field(field.to_owned()))
        };
        let id = id.map(|id| read(id, "id")).transpose()?;
        let names = Self { index: read(index, "index")?, id, scope: format!("{pipeline}\0{sink}") };
        names.check_index(index).map_err(|error| error.field("index"))?;
        Ok(names)
    }

    /// Checks that a schema has the columns.
    ///
    /// # Errors
    /// Config: it has not, a name would depend on the epoch, or no document can have a column.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            check_column(field.name())?;
        }
        self.index.check(schema).map_err(|error| error.field("index"))?;
        match &self.id {
            Some(id) => id.check(schema).map_err(|error| error.field("id")),
            None => Ok(()),
        }
    }

    /// The template of indices.
    pub fn index_template(&self) -> &Template {
        &self.index
    }

    /// The template of ids; none where they are made of the origin.
    pub fn id_template(&self) -> Option<&Template> {
        self.id.as_ref()
    }

    /// The index of rows with these values, or the reason why they have none.
    pub fn index(&self, values: &Values) -> std::result::Result<String, String> {
        let mut name = String::new();
        for part in self.index.parts(values) {
            match part {
                Part::Text(text) | Part::Time(Some(text)) => name.push_str(text),
                Part::Value(Some(value)) => confine(value, &mut name),
                _ => return Err("a column that names the index is null".to_owned()),
            }
        }
        Ok(name)
    }

    /// The `_id` that the template gives rows with these values, or the reason why there is none.
    pub fn id(&self, values: &Values) -> std::result::Result<String, String> {
        let mut id = String::new();
        let template = self.id.as_ref().map(|template| template.parts(values));
        for part in template.into_iter().flatten() {
            match part {
                Part::Text(text) | Part::Value(Some(text)) | Part::Time(Some(text)) => {
                    id.push_str(text);
                }
                _ => return Err("a column that makes the _id is null".to_owned()),
            }
        }
        match id.len() {
            0 => Err("the _id is empty".to_owned()),
            1..=ID_BYTES_MAX => Ok(id),
            length => Err(format!("the _id has {length} bytes; {ID_BYTES_MAX} are allowed")),
        }
    }

    /// How the ids begin that are made of the origin of a split's rows.
    pub fn split_id(&self, split: &str) -> String {
        format!("{:032x}", split_seed(&format!("{}\0{split}", self.scope)))
    }

    /// All indices that rows can go to, as a pattern.
    pub fn index_pattern(&self) -> String {
        let mut pattern = String::new();
        for (part, text) in self.index.sample() {
            match part {
                Part::Text(_) => pattern.push_str(&text),
                _ if pattern.ends_with('*') => {}
                _ => pattern.push('*'),
            }
        }
        pattern
    }

    fn check_index(&self, text: &str) -> Result<()> {
        let bad = |what: &str| Error::config(format!("{text:?} names no index: {what}"));
        let mut longest = String::new();
        for (part, sample) in self.index.sample() {
            match part {
                Part::Value(_) => longest.push_str(&"x".repeat(VALUE_BYTES_MAX)),
                _ => longest.push_str(&sample),
            }
        }
        let starts_with_text = matches!(self.index.sample().first(), Some((Part::Text(_), _)));
        if !starts_with_text {
            return Err(bad("it does not begin with text")
                .hint("values must not choose among all indices of the cluster"));
        }
        if longest.starts_with(['-', '_', '+', '.']) {
            return Err(bad("it begins with one of - _ + ."));
        }
        if !longest.chars().all(is_plain) {
            return Err(bad("allowed are lower-case letters, digits and - _ + ."));
        }
        if longest.len() > INDEX_BYTES_MAX {
            return Err(bad("it can become longer than 255 bytes"));
        }
        Ok(())
    }
}

/// Checks that a document can have a field of this name.
fn check_column(name: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::config(format!("{name:?} is no name for a field of a document: {why}"))
            .hint("rename it in a `sql` transform: `SELECT \"old\" AS new`"))
    };
    if RESERVED.contains(&name) {
        return bad("it is what the cluster itself keeps beside a document");
    }
    match name.split('.').any(|part| part.trim().is_empty()) {
        true => bad("it is empty, or nothing stands before or behind a dot"),
        false => Ok(()),
    }
}

/// The `_id` of a row by its origin.
pub fn origin_id(split_id: &str, position: i64, ordinal: i64) -> String {
    let mut id = format!("{split_id}-{position}");
    if ordinal != 0 {
        write!(id, "-{ordinal}").expect("a string takes any text");
    }
    id
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_+.".contains(letter)
}

/// Adds a value as an index or a template can be called.
pub fn confine(value: &str, name: &mut String) {
    for letter in value.chars().flat_map(char::to_lowercase).take(VALUE_BYTES_MAX) {
        name.push(if is_plain(letter) { letter } else { '_' });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn names(index: &str) -> Names {
        Names::parse(index, Some("{a}/{b}"), "shop", "search").expect("templates")
    }

    fn values(texts: &[&str]) -> Values {
        texts.iter().map(|text| Some(Arc::from(*text))).collect()
    }

    #[test]
    fn no_value_names_an_index_of_its_own() {
        let names = names("logs-{app}-x");
        let index = |value: &str| names.index(&values(&[value])).expect("a name");
        assert_eq!(index("Shop"), "logs-shop-x");
        assert_eq!(index("../*,a b"), "logs-..___a_b-x");
        assert_eq!(index("é\0\n"), "logs-___-x");
        assert_eq!(index(&"x".repeat(1 << 20)).len(), 5 + VALUE_BYTES_MAX + 2);
        assert!(names.index(&vec![None]).is_err());
        assert_eq!(names.index_pattern(), "logs-*-x");
    }

    #[test]
    fn indices_that_the_server_or_others_would_mind_are_refused() {
        let refused = |index: &str, expect: &str| {
            let error = Names::parse(index, None, "p", "s").expect_err(index).to_string();
            assert!(error.contains(expect), "{error}");
        };
        refused("{app}", "does not begin with text");
        refused("Logs", "lower-case");
        refused("logs-{ts:%B}", "lower-case");
        refused("_logs", "begins with one of");
        refused(&"x".repeat(256), "longer than");
        refused("logs/{app}", "lower-case");
    }

    #[test]
    fn columns_that_no_document_can_have_are_refused() {
        for name in RESERVED.into_iter().chain(["", " ", "a.", ".a", "a..b"]) {
            let error = check_column(name).expect_err(name).to_string();
            assert!(error.contains("is no name for a field"), "{error}");
        }
        for name in ["a", "a.b", "_split", "a b,;{}()=", "_identity"] {
            assert!(check_column(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn ids_are_never_empty_nor_too_long() {
        let names = names("logs");
        assert_eq!(names.id(&values(&["1", "2"])).expect("an id"), "1/2");
        assert!(names.id(&vec![None, None]).is_err());
        assert!(names.id(&values(&["x", &"y".repeat(600)])).is_err());
        let empty = Names::parse("logs", Some("{a}"), "shop", "search").expect("templates");
        assert!(empty.id(&values(&[""])).is_err());
    }

    #[test]
    fn pipelines_sinks_and_splits_never_share_an_id() {
        let id = |pipeline, sink, split| {
            let names = Names::parse("logs", None, pipeline, sink).expect("templates");
            origin_id(&names.split_id(split), 1, 0)
        };
        let ids = [id("p", "s", "a"), id("p", "s", "b"), id("p", "t", "a"), id("q", "s", "a")];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_ne!(origin_id("a", 1, 0), origin_id("a", 1, 1));
    }
}
