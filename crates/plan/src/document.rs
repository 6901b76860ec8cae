//! The documents of a pipeline file, each of them one pipeline.
//!
//! What a document says of values and secrets is read first, from the environment alone: it tells
//! whoever reads the pipeline where all other values come from.

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::section::Value;
use contract::{Error, Place, Result, Section};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::settings::part;
use crate::substitute::{Lookups, substitute, variables};
use crate::yaml::{Scalars, parse_all};
use crate::{Plan, Vocabulary, assemble};

/// A document of a pipeline file, read but not checked.
#[derive(Clone, Debug)]
pub struct Document {
    pub(crate) file: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) root: Section,
    /// From 1, among those of the file that hold anything.
    number: usize,
    /// How many there are.
    count: usize,
}

/// Where values come from that the environment does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Files of values, and what names have in front.
    pub values: Values,
    /// Files of secrets; the first that has a secret gives it.
    pub secrets: Vec<Option<String>>,
}

/// Files of values: YAML whose nested keys are names of variables. `kafka: {topic: x}` is
/// `KAFKA_TOPIC`. The environment goes before them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Values {
    /// What the names of variables may have in front: with `SHOP`, `SHOP_KAFKA_TOPIC` is
    /// `kafka.topic` too.
    pub prefix: Option<String>,

    /// Files, a later one before an earlier one; those of `--values` before all. One that is
    /// empty, as a variable may be, is left out.
    pub files: Vec<Option<String>>,
}

/// Reads the documents of a pipeline file, one at least. `file` is how errors name it.
///
/// # Errors
/// Config, with the place: the text is not YAML.
pub fn documents(text: &str, file: &str) -> Result<Vec<Document>> {
    let file: Arc<str> = file.into();
    let parsed = parse_all(text, &file, Scalars::Typed)?;
    let (count, lines) = (parsed.len(), text.split_inclusive('\n').collect::<Vec<_>>());
    if count > 1 {
        refuse_directives(&lines, &file)?;
    }
    let starts: Vec<_> = parsed.iter().map(|document| document.line - 1).collect();
    let documents = parsed.into_iter().enumerate().map(|(index, document)| {
        let from = if index == 0 { 0 } else { starts[index] };
        let until = starts.get(index + 1).copied().unwrap_or(lines.len());
        let text = lines[from.min(until)..until].concat();
        let (file, root) = (file.clone(), document.section);
        Document { file, text: text.into(), root, number: index + 1, count }
    });
    Ok(documents.collect())
}

/// A directive stands before the line that begins its document, and would be taken for the end of
/// the one before.
fn refuse_directives(lines: &[&str], file: &Arc<str>) -> Result<()> {
    match lines.iter().position(|line| line.starts_with('%')) {
        Some(line) => Err(Error::config("directives are not supported among several documents")
            .at(&Place { file: file.clone(), line: line + 1, column: 1 })
            .hint("remove the line: YAML 1.2 is what is read")),
        None => Ok(()),
    }
}

impl Document {
    /// The name of its pipeline, where it has one already; `environment` knows variables.
    pub fn name(&self, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let name = substitute(self.root.get("name")?, &without_secrets(environment)).ok()?;
        name.as_text().map(str::to_owned)
    }

    /// The variables that it takes, those of disabled parts too.
    pub fn variables(&self) -> BTreeSet<String> {
        variables(&self.root)
    }

    /// Where its other values come from.
    ///
    /// # Errors
    /// Config, with place and setting.
    pub fn outside(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Outside> {
        let lookups = without_secrets(environment);
        let read = || {
            let entries = self.root.entries().iter().cloned();
            let named = entries.filter(|entry| ["values", "secrets"].contains(&&*entry.key));
            let named = Section::new(self.root.place().clone(), Value::Map(named.collect()));
            let named = substitute(&named, &lookups)?;
            Ok(Outside { values: part(&named, "values")?, secrets: part(&named, "secrets")? })
        };
        read().map_err(|error| self.within(error))
    }

    /// Checks it.
    ///
    /// # Errors
    /// As for [`crate::read`].
    pub fn read(&self, vocabulary: &Vocabulary<'_>) -> Result<Plan> {
        assemble(self, vocabulary).map_err(|error| self.within(error))
    }

    /// What makes it again: the file, or its lines where there are others.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it begins.
    pub fn place(&self) -> &Place {
        self.root.get("name").unwrap_or(&self.root).place()
    }

    /// Says of an error in which document it is, where the file has several.
    pub fn within(&self, error: Error) -> Error {
        if self.count == 1 {
            return error;
        }
        let name = self.root.get("name").and_then(Section::as_text);
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        error.context(format!("document {}{name}", self.number))
    }
}

fn without_secrets(environment: &dyn Fn(&str) -> Option<String>) -> Lookups<'_> {
    Lookups {
        environment,
        secrets: &|_| {
            Err(Error::config("a secret cannot say where values and secrets are")
                .hint("write the place, or a variable of the environment"))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{said, vocabulary};

    const TWO: &str = "name: a\nsources:\n  x: { type: file }\n---\n\
                       # The second.\nname: b\nsources:\n  y: { type: file, port: \"${PORT}\" }\n";

    #[test]
    fn each_document_is_a_pipeline_with_the_text_that_makes_it_again() {
        let both = documents(TWO, "p.yaml").expect("two");
        let texts: Vec<_> = both.iter().map(|one| one.text.to_string()).collect();
        assert_eq!(texts.concat(), TWO);
        for document in &both {
            let environment = |_: &str| Some("1".to_owned());
            let plan = vocabulary(&environment, |given| document.read(given)).expect("a pipeline");
            let again = documents(&plan.text, "again").expect("a document");
            let again = vocabulary(&environment, |given| again[0].read(given)).expect("as before");
            assert_eq!((again.name, again.hash), (plan.name, plan.hash));
        }
    }

    #[test]
    fn errors_name_the_document_and_the_line() {
        let second = |text: &str| {
            let read = documents(text, "p.yaml").and_then(|all| {
                vocabulary(&|_| None, |given| {
                    all.iter().try_for_each(|one| one.read(given).map(drop))
                })
            });
            said(read.map(|()| "right"))
        };
        assert_eq!(
            second(TWO),
            "p.yaml:8:26: document 2 (b): the environment variable \"PORT\" is not set; set it, \
             give a default with `${PORT:…}`, or write `$${` for a literal `${`"
        );
        assert_eq!(
            second("%YAML 1.2\n---\nname: a\n---\nname: b\n"),
            "p.yaml:1:1: directives are not supported among several documents; \
             remove the line: YAML 1.2 is what is read"
        );
    }

    #[test]
    fn a_document_says_where_values_and_secrets_are() {
        let text = "name: ${NAME}\nvalues: { prefix: SHOP, files: [\"${FILE:}\", a.yaml] }\n\
                    secrets: [\"${FILE:s.yaml}\"]\nsources:\n  x: { type: file, a: \"${UNSET}\" }\n";
        let [document] = &documents(text, "p.yaml").expect("one")[..] else { panic!("one") };
        let environment = |name: &str| (name == "NAME").then(|| "shop".to_owned());
        let named: Vec<_> = document.variables().into_iter().collect();
        assert_eq!(named, ["FILE", "NAME", "UNSET"]);
        assert_eq!(document.name(&environment).as_deref(), Some("shop"));
        assert_eq!(document.name(&|_| None), None);
        let outside = document.outside(&environment).expect("read");
        assert_eq!(outside.secrets, [Some("s.yaml".to_owned())]);
        assert_eq!(outside.values.prefix.as_deref(), Some("SHOP"));
        assert_eq!(outside.values.files, [None, Some("a.yaml".to_owned())]);
        let wrong = documents("name: a\nsecrets: [\"${secret:x}\"]\n", "p.yaml").expect("YAML");
        let said = said(wrong[0].outside(&environment).map(|_| ""));
        assert!(said.contains("a secret cannot say where values and secrets are"), "{said}");
    }
}
