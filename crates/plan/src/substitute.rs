//! Replaces `${VAR}`, `${VAR:default}` and `${secret:path}` in the values of a tree.
//!
//! Works on values, never on keys and never on the text of the file, so that no variable can
//! change the shape of a pipeline. What was substituted is not looked at again.

use std::collections::BTreeSet;

use contract::section::{Entry, Value};
use contract::{Error, Place, Result, Section};

use crate::yaml::plain_scalar;

/// Where values come from.
pub(crate) struct Lookups<'a> {
    /// Environment variables.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Secrets by their path.
    pub secrets: &'a dyn Fn(&str) -> Result<String>,
}

/// Replaces every reference below `section`.
///
/// # Errors
/// Config: a variable is not set, or a reference is not well formed.
pub(crate) fn substitute(section: &Section, lookups: &Lookups<'_>) -> Result<Section> {
    let place = section.place();
    let value = match section.value() {
        Value::Text(text) => {
            let replaced = match text.contains("${") {
                true => scalar(text, place, lookups)?,
                false => Section::new(place.clone(), Value::Text(text.clone())),
            };
            refuse_home(&replaced)?;
            return Ok(replaced);
        }
        Value::List(items) => {
            Value::List(items.iter().map(|item| substitute(item, lookups)).collect::<Result<_>>()?)
        }
        Value::Map(entries) => Value::Map(
            entries.iter().map(|entry| map_entry(entry, lookups)).collect::<Result<_>>()?,
        ),
        other => other.clone(),
    };
    Ok(Section::new(place.clone(), value))
}

fn map_entry(entry: &Entry, lookups: &Lookups<'_>) -> Result<Entry> {
    let value =
        substitute(&entry.value, lookups).map_err(|error| error.field(entry.key.as_ref()))?;
    Ok(Entry { value, ..entry.clone() })
}

fn scalar(text: &str, place: &Place, lookups: &Lookups<'_>) -> Result<Section> {
    let pieces = pieces(text).map_err(|error| error.at(place))?;
    let mut whole = String::new();
    let mut secret = false;
    for piece in &pieces {
        match piece {
            Piece::Literal(literal) => whole.push_str(literal),
            Piece::Variable { name, default } => {
                whole
                    .push_str(&variable(name, *default, lookups).map_err(|error| error.at(place))?);
            }
            Piece::Secret(path) => {
                secret = true;
                whole.push_str(&(lookups.secrets)(path).map_err(|error| error.at(place))?);
            }
        }
    }
    if secret {
        return Ok(Section::secret(place.clone(), whole));
    }
    let value = match pieces.as_slice() {
        // Only a reference: the value has the type that it would have in the file.
        [Piece::Variable { .. }] => plain_scalar(&whole),
        _ => Value::Text(whole.into()),
    };
    Ok(Section::new(place.clone(), value))
}

/// The variables that stand anywhere below `section`. What is not well formed names none.
pub(crate) fn variables(section: &Section) -> BTreeSet<String> {
    let of_text = |text: &str| {
        let pieces = pieces(text).unwrap_or_default();
        let names = pieces.iter().filter_map(|piece| match piece {
            Piece::Variable { name, .. } => Some((*name).to_owned()),
            _ => None,
        });
        names.collect()
    };
    match section.value() {
        Value::Text(text) => of_text(text),
        Value::List(items) => items.iter().flat_map(variables).collect(),
        Value::Map(entries) => entries.iter().flat_map(|entry| variables(&entry.value)).collect(),
        _ => BTreeSet::new(),
    }
}

/// A path below `~` would be looked for in a folder of that name: the sign is the shell's.
fn refuse_home(section: &Section) -> Result<()> {
    match section.value() {
        Value::Text(text) if text.starts_with("~/") => {
            Err(Error::config(format!("{text:?} begins with `~`, which only a shell replaces"))
                .at(section.place())
                .hint(format!("write `${{HOME}}{}`, or the whole path", &text[1..])))
        }
        _ => Ok(()),
    }
}

fn variable(name: &str, default: Option<&str>, lookups: &Lookups<'_>) -> Result<String> {
    // One that is empty counts as not set, where something else is there to take.
    let set = (lookups.environment)(name).filter(|value| default.is_none() || !value.is_empty());
    set.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        Error::config(format!("the environment variable {name:?} is not set")).hint(format!(
            "set it, give a default with `${{{name}:…}}`, or write `$${{` for a literal `${{`"
        ))
    })
}

enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
    Secret(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        if let Some(before) = before.strip_suffix('$') {
            push_literal(&mut pieces, before);
            pieces.push(Piece::Literal("${"));
            rest = &rest[at + 2..];
            continue;
        }
        push_literal(&mut pieces, before);
        let reference = &rest[at + 2..];
        let end = reference.find('}').ok_or_else(|| {
            malformed("a `${` is not closed", "add the `}`, or write `$${` for a literal `${`")
        })?;
        pieces.push(piece(&reference[..end])?);
        rest = &reference[end + 1..];
    }
    push_literal(&mut pieces, rest);
    Ok(pieces)
}

fn push_literal<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text));
    }
}

fn piece(reference: &str) -> Result<Piece<'_>> {
    let (name, rest) = match reference.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (reference, None),
    };
    match rest {
        Some(path) if name == "secret" && path.is_empty() => {
            Err(malformed("`${secret:}` names no secret", "write `${secret:path}`"))
        }
        Some(path) if name == "secret" => Ok(Piece::Secret(path)),
        Some(default) if default.contains("${") => {
            Err(malformed("a default cannot hold another `${`", "set the variable instead"))
        }
        default if is_name(name) => Ok(Piece::Variable { name, default }),
        _ => Err(malformed(
            &format!("`${{{reference}}}` names no variable"),
            "write `${NAME}` or `${NAME:default}`, or `$${` for a literal `${`",
        )),
    }
}

/// Whether a variable may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn malformed(message: &str, hint: &str) -> Error {
    Error::config(message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::said;

    fn check(text: &str, expect: &str) {
        let place = Place { file: "p.yaml".into(), line: 1, column: 4 };
        let environment = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "HOST" => Some("localhost".to_owned()),
            "EMPTY" => Some(String::new()),
            "SELF" => Some("${HOST}".to_owned()),
            _ => None,
        };
        let secrets = |path: &str| match path {
            "pg/password" => Ok("1234".to_owned()),
            other => Err(Error::config(format!("there is no secret {other:?}"))),
        };
        let lookups = Lookups { environment: &environment, secrets: &secrets };
        let section = Section::new(place, Value::Text(text.into()));
        let shown = substitute(&section, &lookups).map(|section| format!("{section:?}"));
        assert_eq!(said(shown), expect, "of {text:?}");
    }

    #[test]
    fn references_become_values() {
        for (text, expect) in [
            ("${PORT}", "Integer(8080)"),
            ("${HOST}", "Text(\"localhost\")"),
            ("${HOST}:${PORT}", "Text(\"localhost:8080\")"),
            ("${NO:true}", "Bool(true)"),
            ("${NO:}", "Null"),
            ("${EMPTY:true}", "Bool(true)"),
            ("${EMPTY}", "Null"),
            ("${NO:http://a:1}", "Text(\"http://a:1\")"),
            ("${SELF}", "Text(\"${HOST}\")"),
            ("$${HOST} ${HOST}", "Text(\"${HOST} localhost\")"),
            ("$HOST costs $5", "Text(\"$HOST costs $5\")"),
            ("${secret:pg/password}", "a secret"),
            ("pg://u:${secret:pg/password}@h", "a secret"),
        ] {
            check(text, expect);
        }
    }

    #[test]
    fn broken_references_say_what_to_write() {
        for (text, expect) in [
            (
                "${NO}",
                "p.yaml:1:4: the environment variable \"NO\" is not set; \
                 set it, give a default with `${NO:…}`, or write `$${` for a literal `${`",
            ),
            (
                "a ${PORT",
                "p.yaml:1:4: a `${` is not closed; \
                 add the `}`, or write `$${` for a literal `${`",
            ),
            (
                "${1x}",
                "p.yaml:1:4: `${1x}` names no variable; \
                 write `${NAME}` or `${NAME:default}`, or `$${` for a literal `${`",
            ),
            ("${secret:}", "p.yaml:1:4: `${secret:}` names no secret; write `${secret:path}`"),
            (
                "${NO:${HOST}}",
                "p.yaml:1:4: a default cannot hold another `${`; set the variable instead",
            ),
            ("${secret:x}", "p.yaml:1:4: there is no secret \"x\""),
        ] {
            check(text, expect);
        }
    }
}
