//! Reads the section `tests`: rows in, rows expected, under a clock that stands still.
//!
//! Runs nothing: it only checks that the names of a test exist.

use chrono::DateTime;
use contract::section::Value;
use contract::{Error, Place, Result, Section};

use crate::nodes::{Declared, check_keys, expect_map, expect_text, reference};

const KEYS: &[&str] = &["name", "now", "input", "expect", "dead_letters"];

/// A unit test of a pipeline file.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// What it shows, in words.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// The clock's time, in microseconds since 1970; none if the test does not set it.
    pub now_us: Option<i64>,
    /// Rows by source: text is a `message`, a map is a row of columns.
    pub input: Vec<(String, Vec<Section>)>,
    /// Rows by node, or `node.output`: maps of the columns that are compared.
    pub expect: Vec<(String, Vec<Section>)>,
    /// Dead letters: maps of the columns that are compared; none if the test does not say.
    pub dead_letters: Option<Vec<Section>>,
}

/// Reads the tests of a file.
///
/// # Errors
/// Config: a key or a node is unknown, a row has the wrong shape, or a test expects nothing.
pub(crate) fn read(tests: Option<&Section>, declared: &Declared) -> Result<Vec<TestCase>> {
    match tests.map(Section::value) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::List(items)) => items.iter().map(|item| case(item, declared)).collect(),
        Some(_) => {
            let place = tests.expect("a value stands in a section").place();
            Err(Error::config("tests must be a list").at(place).hint("write `- name: …` lines"))
        }
    }
}

fn case(section: &Section, declared: &Declared) -> Result<TestCase> {
    expect_map(section, "a test")?;
    check_keys(section, KEYS)?;
    let sources: Vec<_> = declared.sources.iter().map(|node| node.name.as_str()).collect();
    let Declared { sources: read, transforms, sinks } = declared;
    let nodes = read.iter().chain(transforms).chain(sinks);
    let nodes: Vec<_> = nodes.map(|node| node.name.as_str()).collect();
    let case = TestCase {
        name: expect_text(required(section, "name")?, "name")?.to_owned(),
        place: section.place().clone(),
        now_us: section.get("now").map(now).transpose()?,
        input: rows_by_node(required(section, "input")?, &sources, row_in)?,
        expect: match section.get("expect") {
            Some(expect) => rows_by_node(expect, &nodes, row_out)?,
            None => Vec::new(),
        },
        dead_letters: section.get("dead_letters").map(|list| rows(list, row_out)).transpose()?,
    };
    if case.expect.is_empty() && case.dead_letters.is_none() {
        return Err(Error::config(format!("the test {:?} expects nothing", case.name))
            .at(&case.place)
            .hint("add `expect: { NODE: [ … ] }` or `dead_letters: [ … ]`"));
    }
    Ok(case)
}

fn required<'a>(section: &'a Section, key: &str) -> Result<&'a Section> {
    section.get(key).ok_or_else(|| {
        Error::config(format!("the key {key:?} is missing"))
            .at(section.place())
            .hint(format!("add `{key}: …`"))
    })
}

fn now(section: &Section) -> Result<i64> {
    let time = DateTime::parse_from_rfc3339(expect_text(section, "now")?).map_err(|error| {
        Error::config("expected a time such as `2026-01-31T12:00:00Z`")
            .at(section.place())
            .field("now")
            .because(error)
    })?;
    Ok(time.timestamp_micros())
}

fn rows_by_node(
    section: &Section,
    names: &[&str],
    check: fn(&Section) -> Result<()>,
) -> Result<Vec<(String, Vec<Section>)>> {
    expect_map(section, "rows by node")?;
    let mut all = Vec::new();
    for entry in section.entries() {
        let name = reference(&entry.key, &entry.place).node;
        if !names.contains(&name.as_str()) {
            return Err(Error::config(format!("there is no {name:?} here"))
                .at(&entry.place)
                .hint(Section::did_you_mean(&name, names.iter().copied())));
        }
        all.push((entry.key.to_string(), rows(&entry.value, check)?));
    }
    Ok(all)
}

fn rows(section: &Section, check: fn(&Section) -> Result<()>) -> Result<Vec<Section>> {
    let Value::List(rows) = section.value() else {
        return Err(Error::config("expected a list of rows")
            .at(section.place())
            .hint("write `[ … ]`, or `[]` for no row"));
    };
    rows.iter().try_for_each(check)?;
    Ok(rows.clone())
}

fn row_in(row: &Section) -> Result<()> {
    match row.value() {
        Value::Text(_) | Value::Map(_) => Ok(()),
        _ => Err(Error::config("a row is a text or a map of columns")
            .at(row.place())
            .hint("quote a line that looks like a number")),
    }
}

fn row_out(row: &Section) -> Result<()> {
    expect_map(row, "an expected row")
}
