//! Turns YAML 1.2 text into a tree of [`Section`]s that remember their place.
//!
//! Not a general YAML loader: keys are text, no tags, no merge keys. Everything has a limit,
//! aliases included, so that a hostile file ends with an error and not with the memory.

use std::collections::HashMap;
use std::sync::Arc;

use contract::section::{Entry, Value};
use contract::{Error, Place, Result, Section};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};

/// Longest text that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of lists and maps.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most values in a file, counted after aliases are replaced by what they stand for.
pub(crate) const NODES_MAX: usize = 100_000;

/// What a scalar without quotes becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalars {
    /// What the core schema says.
    Typed,
    /// Text as it stands, `0123` and `1e5` too; only what is nothing is nothing.
    Text,
}

/// A document of a file.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// What stands in it.
    pub section: Section,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// Reads one document.
///
/// # Errors
/// Config, with the place and what to do.
pub(crate) fn parse(text: &str, file: &Arc<str>, scalars: Scalars) -> Result<Section> {
    let mut documents = parse_all(text, file, scalars)?;
    if let Some(second) = documents.get(1) {
        return Err(Error::config("a second document begins here")
            .at(&Place { file: Arc::clone(file), line: second.line, column: 1 })
            .hint("remove it: this file holds one"));
    }
    Ok(documents.swap_remove(0).section)
}

/// Reads the documents of a file, one at least; those that hold nothing are left out.
///
/// # Errors
/// Config, with the place and what to do.
pub(crate) fn parse_all(text: &str, file: &Arc<str>, scalars: Scalars) -> Result<Vec<Parsed>> {
    let start = Place { file: Arc::clone(file), line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        return Err(Error::config(format!("the file is longer than {FILE_BYTES_MAX} bytes"))
            .at(&start)
            .hint("split it into several files"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Builder::new(text, file, scalars).documents()?;
    if documents.is_empty() {
        return Err(Error::config("the file is empty").at(&start).hint(FIRST_LINES));
    }
    if documents.len() > 1 && documents.iter().any(|one| !is_nothing(&one.section)) {
        documents.retain(|document| !is_nothing(&document.section));
    }
    Ok(documents)
}

fn is_nothing(section: &Section) -> bool {
    matches!(section.value(), Value::Null)
}

/// What a plain scalar is by the core schema of YAML 1.2.
pub(crate) fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Value::Integer(number);
    }
    match float(text) {
        Some(number) => Value::Float(number),
        None => Value::Text(text.into()),
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    text.parse().ok()
}

/// Digits of a base; unlike the standard library's, without a sign of their own.
fn radix(digits: &str, base: u32) -> Option<i64> {
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(digits, base).ok()
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let negative = text.starts_with('-');
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    // The standard library reads `inf` and `nan` too, which are words in YAML.
    let numeric = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    if !unsigned.bytes().all(numeric) || !unsigned.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

const FIRST_LINES: &str = "a pipeline file begins with `name:` and `sources:`";

/// A value and what it costs to copy it.
#[derive(Clone)]
struct Built {
    section: Section,
    nodes: usize,
    depth: usize,
}

impl Built {
    fn leaf(place: Place, value: Value) -> Self {
        Self { section: Section::new(place, value), nodes: 1, depth: 0 }
    }
}

/// Sums up the children of a list or map.
#[derive(Default)]
struct Size {
    nodes: usize,
    depth: usize,
}

impl Size {
    fn add(&mut self, child: &Built) {
        self.nodes += child.nodes;
        self.depth = self.depth.max(child.depth);
    }

    fn finish(self, place: Place, value: Value) -> Built {
        Built { section: Section::new(place, value), nodes: self.nodes + 1, depth: self.depth + 1 }
    }
}

struct Builder<'text> {
    text: &'text str,
    file: Arc<str>,
    parser: Parser<'text, StrInput<'text>>,
    scalars: Scalars,
    anchors: HashMap<usize, Built>,
    /// The largest anchor of the documents before; they are numbered through the whole file.
    foreign: usize,
    nodes: usize,
}

impl<'text> Builder<'text> {
    fn new(text: &'text str, file: &Arc<str>, scalars: Scalars) -> Self {
        Self {
            text,
            file: Arc::clone(file),
            parser: Parser::new_from_str(text),
            scalars,
            anchors: HashMap::new(),
            foreign: 0,
            nodes: 0,
        }
    }

    fn documents(mut self) -> Result<Vec<Parsed>> {
        let mut documents: Vec<Parsed> = Vec::new();
        let mut line = 1;
        loop {
            let number = documents.len() + 1;
            let within = |error: Error| match number {
                1 => error,
                _ => error.context(format!("document {number}")),
            };
            match self.next().map_err(within)? {
                (Event::StreamEnd, _) => return Ok(documents),
                (Event::DocumentStart(_), place) => {
                    // A name that an earlier document gave to a value means nothing in this one.
                    let named = self.anchors.drain().map(|(anchor, _)| anchor);
                    self.foreign = named.fold(self.foreign, usize::max);
                    line = place.line;
                }
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (event, place) => {
                    let root = self.node(event, place, 0).map_err(within)?;
                    documents.push(Parsed { section: root.section, line });
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'text>, Place)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.place(&span.start))),
            Some(Err(error)) => Err(self.invalid(&error)),
            None => Ok((Event::StreamEnd, Place::default())),
        }
    }

    fn place(&self, marker: &Marker) -> Place {
        Place { file: Arc::clone(&self.file), line: marker.line(), column: marker.col() + 1 }
    }

    fn invalid(&self, error: &ScanError) -> Error {
        let place = self.place(error.marker());
        let line = self.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        let hint = if line.contains("${") {
            "inside `[…]` and `{…}` put quotes around \"${…}\""
        } else if line.contains('\t') {
            "indent with spaces, not with tabs"
        } else {
            "check the indentation, and quote text that contains `: `, ` #` or begins with a sign"
        };
        Error::config(format!("not valid YAML: {}", error.info())).at(&place).hint(hint)
    }

    fn node(&mut self, event: Event<'text>, place: Place, depth: usize) -> Result<Built> {
        let (built, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, &place, depth),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(Error::config("tags are not supported")
                    .at(&place)
                    .hint("remove the word with `!`; quotes make text of anything"));
            }
            Event::Scalar(text, style, anchor, None) => {
                self.count(1, &place)?;
                (Built::leaf(place, scalar(&text, style, self.scalars)), anchor)
            }
            Event::SequenceStart(anchor, None) => (self.list(place, depth)?, anchor),
            Event::MappingStart(anchor, None) => (self.map(place, depth)?, anchor),
            _ => (Built::leaf(place, Value::Null), 0),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn list(&mut self, place: Place, depth: usize) -> Result<Built> {
        self.enter(depth, &place)?;
        let mut size = Size::default();
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(size.finish(place, Value::List(items)));
            }
            let item = self.node(event, at, depth + 1)?;
            size.add(&item);
            items.push(item.section);
        }
    }

    fn map(&mut self, place: Place, depth: usize) -> Result<Built> {
        self.enter(depth, &place)?;
        let mut size = Size::default();
        let mut entries = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(size.finish(place, Value::Map(entries)));
            }
            let key = key(event, &at)?;
            if let Some(first) = seen.insert(Arc::clone(&key), at.clone()) {
                return Err(Error::config(format!("duplicate key {key:?}, first set at {first}"))
                    .at(&at)
                    .hint("remove one of them"));
            }
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            size.add(&value);
            entries.push(Entry { key, place: at, value: value.section });
        }
    }

    fn alias(&mut self, anchor: usize, place: &Place, depth: usize) -> Result<Built> {
        let Some(target) = self.anchors.get(&anchor).cloned() else {
            let what = match anchor <= self.foreign {
                true => "the alias names a value of another document",
                false => "the alias stands inside the value that it names",
            };
            return Err(Error::config(what).at(place).hint("write the value out"));
        };
        self.count(target.nodes, place)?;
        check_depth(depth + target.depth, place)?;
        Ok(target)
    }

    fn enter(&mut self, depth: usize, place: &Place) -> Result<()> {
        self.count(1, place)?;
        check_depth(depth + 1, place)
    }

    fn count(&mut self, nodes: usize, place: &Place) -> Result<()> {
        self.nodes += nodes;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(Error::config(format!("the file holds more than {NODES_MAX} values"))
            .at(place)
            .hint("split it, or use fewer aliases"))
    }
}

fn check_depth(depth: usize, place: &Place) -> Result<()> {
    if depth <= DEPTH_MAX {
        return Ok(());
    }
    Err(Error::config(format!("lists and maps are nested deeper than {DEPTH_MAX} levels"))
        .at(place)
        .hint("flatten the settings"))
}

fn scalar(text: &str, style: ScalarStyle, scalars: Scalars) -> Value {
    let as_text = || Value::Text(text.into());
    match (style, scalars) {
        (ScalarStyle::Plain, Scalars::Typed) => plain_scalar(text),
        (ScalarStyle::Plain, Scalars::Text) => match plain_scalar(text) {
            Value::Null => Value::Null,
            _ => as_text(),
        },
        _ => as_text(),
    }
}

fn key(event: Event<'_>, place: &Place) -> Result<Arc<str>> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<" => {
            Err(Error::config("merge keys are not supported")
                .at(place)
                .hint("write the settings out, or give the whole value an alias"))
        }
        Event::Scalar(text, _, _, None) => Ok(text.into()),
        _ => Err(Error::config("a key must be plain text").at(place).hint("write `key: value`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, proptest};

    use super::*;
    use crate::tests::said;

    fn check(text: &str, expect: &str) {
        let shown =
            parse(text, &"p.yaml".into(), Scalars::Typed).map(|section| format!("{section:?}"));
        assert_eq!(said(shown), expect, "of {text:?}");
    }

    #[test]
    fn plain_scalars_follow_the_core_schema_and_quotes_make_text() {
        for (text, expect) in [
            ("12", "Integer(12)"),
            ("-12", "Integer(-12)"),
            ("0x1F", "Integer(31)"),
            ("0o17", "Integer(15)"),
            ("0x-1", "Text(\"0x-1\")"),
            ("1.5", "Float(1.5)"),
            ("1e3", "Float(1000.0)"),
            ("-.inf", "Float(-inf)"),
            ("true", "Bool(true)"),
            ("no", "Text(\"no\")"),
            ("inf", "Text(\"inf\")"),
            ("1.2.3.4", "Text(\"1.2.3.4\")"),
            ("10s", "Text(\"10s\")"),
            ("~", "Null"),
            ("\"12\"", "Text(\"12\")"),
            ("'true'", "Text(\"true\")"),
            ("|\n  12\n", "Text(\"12\\n\")"),
        ] {
            check(text, expect);
        }
    }

    #[test]
    fn an_alias_stands_for_the_anchored_value() {
        let root = parse("a: &x {k: 1}\nb: *x\n", &"p.yaml".into(), Scalars::Typed).expect("valid");
        assert_eq!(root.get("a"), root.get("b"));
    }

    #[test]
    fn errors_name_the_place_and_the_way_out() {
        for (text, expect) in [
            (
                "# nothing\n",
                "p.yaml:1:1: the file is empty; a pipeline file begins with `name:` and `sources:`",
            ),
            (
                "a: 1\nb: 2\na: 3\n",
                "p.yaml:3:1: duplicate key \"a\", first set at p.yaml:1:1; remove one of them",
            ),
            (
                "a: 1\n--- \nb: 2\n",
                "p.yaml:2:1: a second document begins here; \
                 remove it: this file holds one",
            ),
            (
                "a: &x {}\nb:\n  <<: *x\n",
                "p.yaml:3:3: merge keys are not supported; \
                 write the settings out, or give the whole value an alias",
            ),
            (
                "a: !!str 12\n",
                "p.yaml:1:4: tags are not supported; \
                 remove the word with `!`; quotes make text of anything",
            ),
            (
                "a: &x [*x]\n",
                "p.yaml:1:8: the alias stands inside the value that it names; write the value out",
            ),
            ("? [a]\n: 1\n", "p.yaml:1:3: a key must be plain text; write `key: value`"),
        ] {
            check(text, expect);
        }
    }

    #[test]
    fn documents_are_told_apart_by_their_lines() {
        let lines = |text: &str| {
            let documents = parse_all(text, &"p.yaml".into(), Scalars::Typed);
            said(
                documents
                    .map(|all| format!("{:?}", all.iter().map(|one| one.line).collect::<Vec<_>>())),
            )
        };
        assert_eq!(lines("a: 1\n---\nb: 2\n--- {c: 3}\n"), "[1, 2, 4]");
        assert_eq!(lines("---\na: 1\n---\n---\nb: 2\n---\n"), "[1, 4]");
        assert_eq!(lines("a: 1\n...\nb: 2\n"), "[1, 3]");
        assert_eq!(
            lines("a: &x 1\n---\nb: *x\n").split(';').next(),
            Some("p.yaml:3:4: document 2: the alias names a value of another document")
        );
        assert_eq!(
            lines("a: 1\n---\nb: 1\nb: 2\n"),
            "p.yaml:4:1: document 2: duplicate key \"b\", first set at p.yaml:3:1; remove one of them"
        );
    }

    #[test]
    fn values_can_be_taken_as_they_stand() {
        let text = "a: 0123\nb: 1e5\nc: ~\nd: true\n";
        let root = parse(text, &"p.yaml".into(), Scalars::Text).expect("valid");
        let texts = ["a", "b", "c", "d"].map(|key| root.get(key).and_then(Section::as_text));
        assert_eq!(texts, [Some("0123"), Some("1e5"), None, Some("true")]);
    }

    #[test]
    fn broken_yaml_gets_a_hint_that_fits() {
        let hint_of = |text: &str| {
            let error = parse(text, &"p.yaml".into(), Scalars::Typed).expect_err("broken");
            assert!(error.to_string().starts_with("not valid YAML: "), "{error}");
            let place = error.place().expect("a place").to_string();
            format!("{place} {}", error.hint_text().unwrap_or_default())
        };
        assert!(hint_of("a: {url: ${URL}}\n").ends_with("put quotes around \"${…}\""));
        assert!(hint_of("a:\n\tb: 1\n").ends_with("indent with spaces, not with tabs"));
        assert!(hint_of("a: b: c\n").contains("quote text that contains `: `"));
    }

    #[test]
    fn every_limit_is_an_error() {
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..=DEPTH_MAX {
            chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        for (text, expect) in [
            (&"x".repeat(FILE_BYTES_MAX + 1), "longer than 1048576 bytes"),
            (&deep, "nested deeper than 64 levels"),
            (&bomb, "more than 100000 values"),
            (&chain, "nested deeper than 64 levels"),
        ] {
            let error = parse(text, &"p.yaml".into(), Scalars::Typed)
                .expect_err("over the limit")
                .to_string();
            assert!(error.contains(expect), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_makes_it_panic(text in "[-a-z0-9:&*#|>?!%@`'\"{}\\[\\], \t\n~<$\\\\.]{0,80}") {
            let _ = parse(&text, &"p.yaml".into(), Scalars::Typed);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&String::from_utf8_lossy(&bytes), &"p.yaml".into(), Scalars::Typed);
        }
    }
}
