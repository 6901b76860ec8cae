//! One error type for the whole program: its kind says who has to act.
//!
//! Not a log: whoever handles an error logs it, once, with its whole chain.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line or the pipeline file is wrong. Stop (exit 2) and show the place.
    Config,
    /// One record is wrong. It becomes a dead letter; go on.
    Record,
    /// Another system refused or did not answer. Back off if [`Error::retry`], else stop (exit 1).
    External,
    /// Another process owns the lineage. Stop (exit 4) without having changed anything.
    NotOwner,
    /// We are wrong. Stop (exit 70) before anything else is written.
    Bug,
}

/// Where in a pipeline file something stands. Lines and columns count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1; 0 where unknown.
    pub line: usize,
    /// Column, from 1; 0 where unknown.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, 0) => Ok(()),
            (true, line) => write!(formatter, "line {line}, column {}", self.column),
            (false, 0) => write!(formatter, "{}", self.file),
            (false, line) => write!(formatter, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// An error: what we tried, on which object, why it failed, and the way out.
///
/// `Display` prints this error alone; [`Error::chain`] prints it with its causes.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: bool,
    message: String,
    place: Option<Place>,
    field: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that is not worth a second try unless [`Error::retryable`] says so.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: false,
            message: message.into(),
            place: None,
            field: None,
            hint: None,
            source: None,
        }))
    }

    /// The pipeline file or the command line is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// One record is wrong.
    pub fn record(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Record, message)
    }

    /// Another system refused; trying again will not help.
    pub fn external(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::External, message)
    }

    /// Another system did not answer as it should; trying again may help.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::External, message).retryable()
    }

    /// An invariant of ours does not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Marks the error as worth another try.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retry = true;
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the way out, a sentence without a full stop.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the place in the pipeline file, unless a closer one is known already.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.0.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Adds the setting that is wrong, unless a closer one is known already.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field.get_or_insert_with(|| field.into());
        self
    }

    /// Wraps this error in one that says what we tried; kind, retry, place and hint stay.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        let mut outer = Self::new(self.0.kind, message);
        outer.0.retry = self.0.retry;
        outer.0.place.clone_from(&self.0.place);
        outer.0.field.clone_from(&self.0.field);
        outer.0.hint.clone_from(&self.0.hint);
        outer.0.source = Some(Box::new(self));
        outer
    }

    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        self.0.retry
    }

    /// Where in the pipeline file the cause stands.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The setting that is wrong.
    pub fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The way out, as the innermost error that knows one gave it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// This error and all its causes on one line, outermost first.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = StdError::source(self);
        while let Some(error) = source {
            let cause = error.to_string();
            // Some libraries write a stack trace below their message.
            let message = cause.split("\n   0: ").next().unwrap_or_default().trim_end();
            let message = without_markup(message);
            if !text.ends_with(&*message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            source = error.source();
        }
        text
    }
}

/// A message in which a store's answer in XML, if it ends with one, is the code and the first line
/// of what that says.
fn without_markup(message: &str) -> Cow<'_, str> {
    let begin = ["<?xml", "<Error>"].iter().filter_map(|tag| message.find(tag)).min();
    let Some((before, answer)) = begin.and_then(|begin| message.split_at_checked(begin)) else {
        return Cow::Borrowed(message);
    };
    let inside = |tag: &str| {
        let rest = answer.split_once(&format!("<{tag}>"))?.1;
        rest.split_once(&format!("</{tag}>"))?.0.lines().next()
    };
    match (inside("Code"), inside("Message")) {
        (Some(code), Some(said)) => Cow::Owned(format!("{before}{code}: {said}")),
        (Some(code), None) => Cow::Owned(format!("{before}{code}")),
        (None, _) => Cow::Borrowed(message),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Says what we tried when a call of a library fails.
pub trait Context<T> {
    /// The failure is the other system's and may pass.
    fn transient(self, message: impl FnOnce() -> String) -> Result<T>;
    /// The failure is the other system's and stays.
    fn external(self, message: impl FnOnce() -> String) -> Result<T>;
    /// The failure is ours.
    fn bug(self, message: &'static str) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn transient(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::transient(message()).because(error))
    }

    fn external(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::external(message()).because(error))
    }

    fn bug(self, message: &'static str) -> Result<T> {
        self.map_err(|error| Error::bug(message).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_place_and_hint() {
        let place = Place { file: "a.yaml".into(), line: 3, column: 5 };
        let error = Error::config("unknown key \"pth\"").at(&place).hint("did you mean \"path\"?");
        let error = error.context("could not read source \"access\"");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.place(), Some(&place));
        assert_eq!(error.hint_text(), Some("did you mean \"path\"?"));
        assert_eq!(error.chain(), "could not read source \"access\": unknown key \"pth\"");
    }

    #[test]
    fn a_chain_says_of_a_stores_answer_its_code_and_message() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>InvalidAccessKeyId</Code><Message>No such \
                   key.\nRequest 7</Message><HostId>1</HostId></Error>";
        let error = Error::external("could not write").because(format!("403 Forbidden: {xml}"));
        let expect = "could not write: 403 Forbidden: InvalidAccessKeyId: No such key.";
        assert_eq!(error.chain(), expect);
        let error = Error::external("could not parse").because("<Error> is no element");
        assert_eq!(error.chain(), "could not parse: <Error> is no element");
    }

    #[test]
    fn a_chain_leaves_stack_traces_out() {
        let error = Error::external("could not read a").because("broken\n   0: main\n   1: start");
        assert_eq!(error.chain(), "could not read a: broken");
    }
}
