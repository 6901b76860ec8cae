//! Reads the notations in which web servers' configurations describe a line: Apache's
//! `LogFormat` and nginx's `log_format`, the whole directive as it stands there or its text alone.
//!
//! Known directives give the standard columns; any other one is a column of text under its own
//! name in lowercase. What a directive is called and holds is written down in [`apache`] and
//! [`variables`], after the servers' documentation.

mod apache;
mod nginx;
mod parts;
mod quoting;
mod variables;

use contract::{Error, Result};

use super::layout::Form;
use crate::timestamp::Zones;

pub use apache::apache;

/// Reads a form in either notation: as a directive with its name and its quotes, or bare; then in
/// the notation whose mark stands first, `%` or `$`. `zones` are those of times that have no
/// offset, which only Apache's can have.
///
/// # Errors
/// Config: the form is not valid.
pub fn read(text: &str, zones: &Zones) -> Result<Form> {
    let mut text = text.trim();
    // What was said of the directive in the configuration came along.
    while let Some((_, after)) = text.split_once('\n').filter(|_| text.starts_with('#')) {
        text = after.trim_start();
    }
    if let Some(arguments) = quoting::arguments_of(text, "log_format") {
        return nginx::directive(arguments).and_then(|form| with_offsets(form, zones));
    }
    if let Some(arguments) = quoting::arguments_of(text, "LogFormat") {
        return apache::directive(arguments, 0, zones);
    }
    // The file or program that the log goes to stands before the form.
    if let Some(arguments) = quoting::arguments_of(text, "CustomLog") {
        return apache::directive(arguments, 1, zones);
    }
    let quoted = quoting::joined(text);
    let bare = quoted.is_none().then(|| quoting::unescape(text));
    match text.find(['%', '$']).map(|at| text.as_bytes()[at]) {
        Some(b'%') => {
            let form = quoted.map_or_else(|| text.replace("\\\"", "\""), |(first, _)| first);
            apache(&form, zones)
        }
        Some(_) => nginx::nginx(&quoted.map(|(_, all)| all).or(bare).unwrap_or_default())
            .and_then(|form| with_offsets(form, zones)),
        None => Err(no_mark()),
    }
}

fn with_offsets(form: Form, zones: &Zones) -> Result<Form> {
    if zones.is_utc() { Ok(form) } else { Err(parts::no_local_time()) }
}

fn no_mark() -> Error {
    Error::config("the form of the lines has neither `%` nor `$`")
        .hint("write it as Apache (`%h %l %u %t \"%r\" %>s %b`) or nginx (`$remote_addr …`) does")
}
