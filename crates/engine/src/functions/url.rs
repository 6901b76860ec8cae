//! `parse_url(url, part)` and `parse_query(url, name)`.
//!
//! A request target (`/a?b=c`) is as good as a whole URL: it has a path, a query and a fragment.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use url::{Url, form_urlencoded};

use super::{Definition, Kind, Parameters, Prepared, invalid, text, value};

pub(super) const PARSE_URL: Definition = Definition {
    name: "parse_url",
    parameters: Parameters::Fixed {
        list: &[("url", Kind::Text), ("part", Kind::Text)],
        required: 2,
    },
    returns: DataType::Utf8View,
    checked: Some((1, |part| Part::read(part).map(drop))),
    evaluate: parse_url,
};

pub(super) const PARSE_QUERY: Definition = Definition {
    name: "parse_query",
    parameters: Parameters::Fixed {
        list: &[("url", Kind::Text), ("name", Kind::Text)],
        required: 2,
    },
    returns: DataType::Utf8View,
    checked: None,
    evaluate: parse_query,
};

#[derive(Clone, Copy)]
enum Part {
    Scheme,
    User,
    Host,
    Port,
    Path,
    Query,
    Fragment,
}

impl Part {
    fn read(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "scheme" | "protocol" => Self::Scheme,
            "user" => Self::User,
            "host" => Self::Host,
            "port" => Self::Port,
            "path" => Self::Path,
            "query" => Self::Query,
            "fragment" => Self::Fragment,
            _ => {
                let parts = "scheme, user, host, port, path, query or fragment";
                return Err(invalid(format!("a URL has no part {name:?}, expected {parts}")));
            }
        })
    }

    fn of_url(self, url: &Url) -> Option<String> {
        let text = match self {
            Self::Scheme => Some(url.scheme()),
            Self::User => Some(url.username()),
            Self::Host => url.host_str(),
            Self::Port => return url.port_or_known_default().map(|port| port.to_string()),
            Self::Path => Some(url.path()),
            Self::Query => url.query(),
            Self::Fragment => url.fragment(),
        };
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The part of a URL without a host, as a request line gives it.
    fn of_target(self, target: &str) -> Option<&str> {
        let (before, fragment) = split_at(target, '#');
        let (path, query) = split_at(before, '?');
        let part = match self {
            Self::Path => Some(path),
            Self::Query => query,
            Self::Fragment => fragment,
            Self::Scheme | Self::User | Self::Host | Self::Port => None,
        };
        part.filter(|text| !text.is_empty())
    }
}

fn split_at(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Whether a text says its own scheme; else it is a request target.
fn is_absolute(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|next| next.is_ascii_alphanumeric() || "+-.".contains(next))
    })
}

fn parse_url(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let (urls, names) = (text(arguments, 0), text(arguments, 1));
    let mut prepared = Prepared::new();
    let mut parts = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let (Some(url), Some(name)) = (value(urls, row), value(names, row)) else {
            parts.append_null();
            continue;
        };
        let part = prepared.get(name, Part::read)?;
        if is_absolute(url) {
            parts.append_option(Url::parse(url).ok().and_then(|url| part.of_url(&url)));
        } else {
            parts.append_option(part.of_target(url));
        }
    }
    Ok(Arc::new(parts.finish()))
}

/// The first value of a parameter in the query of a URL, or in a query alone, decoded.
fn parse_query(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let (urls, names) = (text(arguments, 0), text(arguments, 1));
    let mut values = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let (Some(url), Some(name)) = (value(urls, row), value(names, row)) else {
            values.append_null();
            continue;
        };
        let (before, _) = split_at(url, '#');
        let query = match before.split_once('?') {
            Some((_, query)) => query,
            None if before.starts_with('/') || is_absolute(before) => "",
            None => before,
        };
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        values.append_option(pairs.find(|(key, _)| key == name).map(|(_, value)| value));
    }
    Ok(Arc::new(values.finish()))
}
