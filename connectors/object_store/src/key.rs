//! The names of objects: a template over columns, and what tells one object from another.
//!
//! Invariant: whatever a value holds, the name lies below the prefix, in as many folders as the
//! template has, and is short enough for every store. The same rows always get the same name.

use std::fmt::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use contract::error::Context;
use contract::record::split_seed;
use contract::{Error, Lineage, Result};
use formats::template::{Groups, Part, Template, Values};
use regex::Regex;

const PIPELINE: &str = "pipeline";
const SINK: &str = "sink";
const SPLIT: &str = "split";
const POSITION: &str = "position";
const EPOCH: &str = "epoch";
const UNIX: &str = "unix";
const WORDS: [&str; 6] = [PIPELINE, SINK, SPLIT, POSITION, EPOCH, UNIX];

/// What Hive and what reads its folders write for null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Longest value in a name, in bytes; of a longer one stand its beginning and a hash.
const VALUE_BYTES_MAX: usize = 80;
/// Digits of a hash in a name.
const HASH_DIGITS: usize = 16;
/// Digits of the hash that marks an object of one of several ways, or of a replay of dead letters,
/// behind its position. They have room beyond what a folder or file name may have.
const MARK_DIGITS: usize = 12;
/// Digits of a number in a name, with its sign.
const NUMBER_DIGITS_MAX: usize = 20;
/// Longest folder or file name; file systems allow 255 bytes.
const SEGMENT_BYTES_MAX: usize = 240;
/// Longest name; S3 allows 1024 bytes with the prefix.
const KEY_BYTES_MAX: usize = 800;
/// What may stand in a template beside letters and digits.
const PLAIN: &str = " !$&'()+,-./:;=@_";

/// The template of a sink's names.
#[derive(Debug)]
pub struct KeyTemplate {
    template: Template,
    /// Gives `{unix}` of a row, where the template has it.
    unix: Option<Template>,
    pipeline: String,
    sink: String,
}

/// What tells an object from others with the same values.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// The split of its rows.
    pub split: &'a str,
    /// The position of its first row.
    pub position: i64,
    /// The epoch that it belongs to.
    pub epoch: i64,
    /// Whose rows they are.
    pub lineage: &'a Lineage,
    /// The number of the way by which its rows came; 0 where there is one only.
    pub ordinal: i64,
    /// The seconds since 1970 of its first row; empty where nobody asks, none where null.
    pub unix: Option<String>,
}

impl KeyTemplate {
    /// Reads the template of a pipeline's sink.
    ///
    /// # Errors
    /// Config: it is none, or two objects could get one name, or a name could be too long.
    pub fn parse(text: &str, pipeline: &str, sink: &str) -> Result<Self> {
        let template = Template::parse(text, &WORDS)?;
        for word in [SPLIT, POSITION] {
            if !template.has_word(word) {
                return Err(Error::config(format!(
                    "two objects could get the same name: {text:?}"
                ))
                .hint(format!("put `{{{word}}}` into the template")));
            }
        }
        let unix = match template.has_word(UNIX) {
            true => {
                let column = template.time_column().unwrap_or("ts");
                Some(Template::parse(&format!("{{{column}:%s}}"), &[])?)
            }
            false => None,
        };
        let (pipeline, sink) = (pipeline.to_owned(), sink.to_owned());
        let key = Self { template, unix, pipeline, sink };
        key.check_text(text)?;
        Ok(key)
    }

    /// Checks that a schema has the columns.
    ///
    /// # Errors
    /// Config: it has not.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        self.template.check(schema)?;
        match &self.unix {
            Some(unix) => unix
                .check(schema)
                .map_err(|error| error.hint("`{unix}` needs a time column in the template")),
            None => Ok(()),
        }
    }

    /// Divides rows by the values that their names hold.
    ///
    /// # Errors
    /// Bug: the batch lost a column.
    pub fn divide(&self, batch: &RecordBatch) -> Result<Groups> {
        self.template.divide(batch)
    }

    /// `{unix}` of a row.
    ///
    /// # Errors
    /// Bug: the batch lost a column.
    pub fn unix(&self, batch: &RecordBatch, row: usize) -> Result<Option<String>> {
        let Some(unix) = &self.unix else { return Ok(None) };
        let mut groups = unix.divide(&batch.slice(row, 1))?;
        let seconds = groups.values.pop().and_then(|mut values| values.pop()).flatten();
        Ok(seconds.map(|seconds| seconds.to_string()))
    }

    /// The name of an object.
    pub fn name(&self, values: &Values, identity: &Identity<'_>) -> String {
        let mut name = String::new();
        for part in self.template.parts(values) {
            match part {
                Part::Text(text) | Part::Time(Some(text)) => name.push_str(text),
                Part::Time(None) => name.push_str(NULL),
                Part::Value(value) => confine(value.unwrap_or_default(), &mut name),
                Part::Word(word) => self.push_word(word, identity, &mut name),
            }
        }
        name
    }

    fn push_word(&self, word: &str, identity: &Identity<'_>, name: &mut String) {
        match word {
            PIPELINE => confine(&self.pipeline, name),
            SINK => confine(&self.sink, name),
            SPLIT => name.push_str(&self.split_hash(identity.split)),
            POSITION => {
                name.push_str(&identity.position.to_string());
                push_mark(identity, name);
            }
            EPOCH => name.push_str(&identity.epoch.to_string()),
            _ => name.push_str(identity.unix.as_deref().unwrap_or("null")),
        }
    }

    /// `{split}` of a split: other pipelines and sinks have another one, so that none overwrites
    /// what another wrote.
    pub fn split_hash(&self, split: &str) -> String {
        hash(&format!("{}\0{}\0{split}", self.pipeline, self.sink))
    }

    /// The folder that all names have in common.
    pub fn folder(&self) -> String {
        let mut constant = String::new();
        for (part, _) in self.template.sample() {
            match part {
                Part::Text(text) => constant.push_str(text),
                Part::Word(PIPELINE) => confine(&self.pipeline, &mut constant),
                Part::Word(SINK) => confine(&self.sink, &mut constant),
                _ => break,
            }
        }
        constant.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default()
    }

    /// What all names look like; the first group is the hash of the split.
    ///
    /// # Errors
    /// Bug: the pattern is none.
    pub fn pattern(&self) -> Result<Regex> {
        let mut pattern = String::from("^");
        for (part, _) in self.template.sample() {
            let piece = match part {
                Part::Text(text) => regex::escape(text),
                Part::Value(_) => "[^/]+".to_owned(),
                Part::Time(_) => ".+".to_owned(),
                Part::Word(SPLIT) => format!("([0-9a-f]{{{HASH_DIGITS}}})"),
                Part::Word(POSITION) => {
                    format!("-?[0-9]+(?:[rw][0-9a-f]{{{MARK_DIGITS}}})?")
                }
                Part::Word(EPOCH) => "-?[0-9]+".to_owned(),
                Part::Word(UNIX) => "(?:-?[0-9]+|null)".to_owned(),
                Part::Word(word) => {
                    let mut constant = String::new();
                    let own = if word == PIPELINE { &self.pipeline } else { &self.sink };
                    confine(own, &mut constant);
                    regex::escape(&constant)
                }
            };
            pattern.push_str(&piece);
        }
        pattern.push('$');
        Regex::new(&pattern).bug("the names of objects make no pattern")
    }

    /// Checks the longest name that the template can give.
    fn check_text(&self, text: &str) -> Result<()> {
        let mut longest = String::new();
        for (part, sample) in self.template.sample() {
            match part {
                Part::Text(_) | Part::Time(_) => longest.push_str(&sample),
                Part::Value(_) => longest.push_str(&"x".repeat(VALUE_BYTES_MAX)),
                Part::Word(PIPELINE) => confine(&self.pipeline, &mut longest),
                Part::Word(SINK) => confine(&self.sink, &mut longest),
                Part::Word(SPLIT) => longest.push_str(&"x".repeat(HASH_DIGITS)),
                Part::Word(_) => longest.push_str(&"x".repeat(NUMBER_DIGITS_MAX)),
            }
        }
        let bad = |what: String| Error::config(format!("{text:?} makes no name: {what}"));
        let unfit = |letter: &char| {
            !letter.is_ascii_alphanumeric() && !PLAIN.contains(*letter) && !"%~".contains(*letter)
        };
        if let Some(letter) = longest.chars().find(unfit) {
            return Err(bad(format!("it holds {letter:?}")).hint(format!("allowed are {PLAIN}")));
        }
        if longest.len() > KEY_BYTES_MAX {
            return Err(bad(format!("it can become longer than {KEY_BYTES_MAX} bytes")));
        }
        for segment in longest.split('/') {
            if segment.is_empty() || segment.starts_with('.') {
                return Err(bad("a folder in it is empty or begins with a dot".to_owned()));
            }
            if segment.len() > SEGMENT_BYTES_MAX {
                let what = format!("a part can become longer than {SEGMENT_BYTES_MAX} bytes");
                return Err(bad(what).hint("put a `/` between its placeholders"));
            }
        }
        Ok(())
    }
}

/// Marks what other rows of the same record do not overwrite: those of a replay, and those that
/// came by one of several ways. Which number a way has, the pipeline file of an epoch says, and
/// lineages count their epochs by themselves; so all three are in the mark, whatever the template
/// holds.
fn push_mark(identity: &Identity<'_>, name: &mut String) {
    let Identity { lineage, ordinal, epoch, .. } = identity;
    let text = match (ordinal, lineage.is_replay()) {
        (0, false) => return,
        (0, true) => lineage.as_str().to_owned(),
        _ => format!("{lineage}\0{epoch}\0{ordinal}"),
    };
    name.push(if lineage.is_replay() { 'r' } else { 'w' });
    name.push_str(&hash(&text)[..MARK_DIGITS]);
}

/// Adds a value such that it neither leaves its folder nor hides in it.
fn confine(value: &str, name: &mut String) {
    if value.is_empty() {
        name.push_str(NULL);
        return;
    }
    let from = name.len();
    for byte in value.bytes() {
        let leads = name.len() == from;
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if !leads => name.push('.'),
            _ => write!(name, "%{byte:02X}").expect("a string takes any text"),
        }
        if name.len() - from > VALUE_BYTES_MAX {
            return cut(value, from, name);
        }
    }
}

/// Puts the beginning of a value that is too long, and its hash, in its place.
fn cut(value: &str, from: usize, name: &mut String) {
    let mut end = from + VALUE_BYTES_MAX - HASH_DIGITS - 1;
    // An escape is not torn.
    if let Some(escape) = name[end - 2..end].find('%') {
        end = end - 2 + escape;
    }
    name.truncate(end);
    name.push('~');
    name.push_str(&hash(value));
}

/// 64 bits of a text, in hexadecimal.
fn hash(text: &str) -> String {
    let long = split_seed(text);
    format!("{:016x}", (long >> 64) as u64 ^ long as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use object_store::local::LocalFileSystem;
    use object_store::path::Path;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn key(text: &str) -> KeyTemplate {
        KeyTemplate::parse(text, "shop", "archive").expect("a template")
    }

    fn identity(split: &str) -> Identity<'_> {
        static MAIN: LazyLock<Lineage> = LazyLock::new(Lineage::main);
        let unix = Some("1431857103".to_owned());
        Identity { split, position: 42, epoch: 7, lineage: &MAIN, ordinal: 0, unix }
    }

    #[test]
    fn the_names_of_the_original_can_be_written() {
        let key = key(
            "logs/year={ts:%Y}/month={ts:%m}/day={ts:%d}/logs-{unix}-{split}-{position}-{epoch}.jsonl",
        );
        let values = ["2015", "05", "17"].map(|text| Some(Arc::from(text))).to_vec();
        let name = key.name(&values, &identity("access.log"));
        let hash = key.split_hash("access.log");
        assert_eq!(
            name,
            format!("logs/year=2015/month=05/day=17/logs-1431857103-{hash}-42-7.jsonl")
        );
        assert_eq!(key.folder(), "logs");
        let found = key.pattern().expect("a pattern");
        assert_eq!(&found.captures(&name).expect("its own name")[1], hash);
    }

    #[test]
    fn pipelines_sinks_and_splits_never_share_a_name() {
        let text = "{split}-{position}";
        let name = |pipeline, sink, split| {
            let key = KeyTemplate::parse(text, pipeline, sink).expect("a template");
            key.name(&Vec::new(), &identity(split))
        };
        let names = [
            name("shop", "archive", "a"),
            name("shop", "archive", "b"),
            name("shop", "other", "a"),
            name("shop2", "archive", "a"),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn a_replay_never_takes_the_name_of_what_is_there_and_is_known_again() {
        let key = key("{split}-{position}-{epoch}.jsonl");
        let (one, other) = (Lineage::replay("1"), Lineage::replay("2"));
        let names = [Lineage::main(), one, other].map(|lineage| {
            let name = key.name(&Vec::new(), &Identity { lineage: &lineage, ..identity("a") });
            let pattern = key.pattern().expect("a pattern");
            assert_eq!(&pattern.captures(&name).expect("its own name")[1], key.split_hash("a"));
            name
        });
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn ways_lineages_and_epochs_never_share_a_name_whatever_the_template() {
        let key = key("{split}-{position}.jsonl");
        let lineages = ["main", "a.web.0", "b.web.0"].map(Lineage::new);
        let lineages = lineages.into_iter().chain([Lineage::replay("1"), Lineage::replay("2")]);
        let mut names = std::collections::HashSet::new();
        for lineage in lineages {
            for (epoch, ordinal) in (1..40).flat_map(|epoch| (1..40).map(move |way| (epoch, way))) {
                let identity = Identity { lineage: &lineage, epoch, ordinal, ..identity("a") };
                let name = key.name(&Vec::new(), &identity);
                assert!(key.pattern().expect("a pattern").is_match(&name), "{name}");
                assert!(names.insert(name), "{lineage}, epoch {epoch}, way {ordinal}");
            }
        }
        let only = key.name(&Vec::new(), &identity("a"));
        assert_eq!(only, format!("{}-42.jsonl", key.split_hash("a")), "one way has no mark");
    }

    #[test]
    fn templates_that_lose_or_hide_objects_are_refused() {
        let refused = |text: &str, expect: &str| {
            let error = KeyTemplate::parse(text, "p", "s").expect_err(text).to_string();
            assert!(error.contains(expect), "{error}");
        };
        refused("{host}", "the same name");
        refused("{split}/x", "the same name");
        refused("../{split}-{position}", "begins with a dot");
        refused("/{split}-{position}", "is empty");
        refused("a//{split}-{position}", "is empty");
        refused("a\0{split}-{position}", "it holds");
        refused("a#1{split}-{position}", "it holds");
        refused("{a}{b}{c}-{split}-{position}", "longer than");
        refused("{ts:%Y/../%m}/{split}-{position}", "begins with a dot");
    }

    proptest! {
        #[test]
        fn no_value_leaves_the_prefix(one in any::<String>(), two in "[./%\\\\\0]{0,6}") {
            let key = key("top/{a}{b}/x-{c}/{split}-{position}");
            let value = |text: &str| Some(Arc::from(text));
            let values = vec![value(&one), value(&two), value(&two)];
            let name = key.name(&values, &identity(&one));
            let segments: Vec<_> = name.split('/').collect();
            prop_assert_eq!(segments.len(), 4);
            prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
            prop_assert!(segments.iter().all(|segment| !segment.starts_with('.')));
            prop_assert!(segments.iter().all(|segment| segment.len() <= SEGMENT_BYTES_MAX));
            let path = Path::parse(&name).expect("a path");
            prop_assert_eq!(path.as_ref(), &name);
            let root = std::env::temp_dir();
            let local = LocalFileSystem::new_with_prefix(&root).expect("a folder");
            let file = local.path_to_filesystem(&path).expect("a file");
            prop_assert_eq!(file.components().count(), root.components().count() + 4);
            prop_assert!(file.starts_with(root.canonicalize().expect("a folder").join("top")));
            prop_assert!(key.pattern().expect("a pattern").is_match(&name));
        }

        #[test]
        fn different_values_get_different_names(one in any::<String>(), two in any::<String>()) {
            let confined = |value: &str| {
                let mut name = String::new();
                confine(value, &mut name);
                name
            };
            prop_assert_eq!(confined(&one) == confined(&two), one == two);
            let long = one.repeat(1 + VALUE_BYTES_MAX / one.len().max(1));
            prop_assert!(confined(&long).len() <= VALUE_BYTES_MAX);
        }
    }
}
