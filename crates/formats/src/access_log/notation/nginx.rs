//! nginx's notation: `log_format NAME [escape=default|json|none] 'text' 'text' …;`
//!
//! <https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format>

use contract::{Error, Result};

use super::parts::Parts;
use super::quoting;
use super::variables::field_of;
use crate::access_log::layout::{Escape, Form};
use crate::timestamp::Zones;

/// Reads the arguments of `log_format`.
///
/// # Errors
/// Config: the form is missing or not valid.
pub fn directive(arguments: &str) -> Result<Form> {
    let (arguments, rest) = quoting::arguments(arguments).ok_or_else(|| {
        Error::config("a quote of `log_format` is never closed")
            .hint("copy the whole directive, up to its semicolon")
    })?;
    let is_alone = |(more, after): (Vec<_>, &str)| more.is_empty() && after.trim().is_empty();
    if !quoting::arguments(rest).is_some_and(is_alone) {
        return Err(Error::config("something stands behind the semicolon of `log_format`")
            .hint("a parser reads one form of lines; leave the others out"));
    }
    let mut pieces = arguments.iter().skip(1).peekable();
    let set = pieces.peek().and_then(|piece| piece.text.strip_prefix("escape="));
    let escape = match set {
        None | Some("default") => Escape::Backslash,
        Some("json") => Escape::Json,
        Some("none") => Escape::None,
        Some(other) => {
            return Err(Error::config(format!("unknown `escape={other}` in `log_format`"))
                .hint("nginx knows `default`, `json` and `none`"));
        }
    };
    let text: String = pieces.skip(usize::from(set.is_some())).map(|piece| &*piece.text).collect();
    if text.is_empty() {
        return Err(Error::config("`log_format` has a name and no form of the lines")
            .hint("copy the whole directive, up to its semicolon"));
    }
    Ok(Form { escape, ..nginx(&text)? })
}

/// Reads nginx's notation.
///
/// # Errors
/// Config: a variable is not complete.
pub fn nginx(text: &str) -> Result<Form> {
    let mut parts = Parts::default();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        parts.literal(&rest[..at]);
        let (name, after) = variable(&rest[at + 1..]).ok_or_else(|| {
            let message = format!("the variable {:?} has no name", &rest[at..]);
            Error::config(message).hint("variables are written `$status` or `${status}`")
        })?;
        let (column, kind) = field_of(name);
        parts.field(&column, kind);
        rest = after;
    }
    parts.literal(rest);
    Ok(Form {
        parts: parts.finish(&Zones::default())?,
        escape: Escape::Backslash,
        empty_numbers: true,
    })
}

/// The name of a variable and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        return inner.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    (!name.is_empty()).then_some((name, rest))
}
