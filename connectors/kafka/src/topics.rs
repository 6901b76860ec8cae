//! Names of topics: which are legal, and which a pipeline reads.

use contract::{Error, Result};
use regex::Regex;

/// Kafka allows no longer name.
const NAME_BYTES_MAX: usize = 249;
/// How the names of Kafka's own topics begin; no pattern matches them.
const INTERNAL: &str = "__";

/// The topics that a source reads.
#[derive(Clone, Debug)]
pub struct TopicSet {
    names: Vec<String>,
    patterns: Vec<Regex>,
}

impl TopicSet {
    /// Reads names and `/patterns/`.
    ///
    /// # Errors
    /// Config: no topic, a name that Kafka does not allow, a pattern that is none.
    pub fn parse(topics: &[String]) -> Result<Self> {
        let mut set = Self { names: Vec::new(), patterns: Vec::new() };
        for topic in topics {
            let pattern = topic.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
            match pattern {
                Some(pattern) => set.patterns.push(whole(pattern)?),
                None => {
                    check_name(topic).map_err(|reason| Error::config(reason).field("topics"))?;
                    set.names.push(topic.clone());
                }
            }
        }
        if set.names.is_empty() && set.patterns.is_empty() {
            return Err(Error::config("expected the name of a topic").field("topics"));
        }
        Ok(set)
    }

    /// The topics that must be there.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether other topics than those named can belong to it.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The patterns, as they are written.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let bare = |pattern: &Regex| {
            let whole = pattern.as_str();
            let inner = whole.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$"));
            format!("/{}/", inner.unwrap_or(whole))
        };
        self.patterns.iter().map(bare)
    }

    /// Whether a pattern takes a topic.
    pub fn matches(&self, name: &str) -> bool {
        !name.starts_with(INTERNAL) && self.patterns.iter().any(|pattern| pattern.is_match(name))
    }
}

fn whole(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error::config(format!("\"/{pattern}/\" is no pattern: {reason}")).field("topics")
    })
}

/// Whether Kafka allows a name; the reason if not.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_legal = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(legal);
    match is_legal {
        true => Ok(()),
        false => Err(format!("{:?} is no name for a topic", shortened(name))),
    }
}

fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(80).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kafka_allows() {
        for name in ["orders", "a.b_c-1", "__consumer_offsets"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "é", "a\0", &"a".repeat(250)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_match_whole_names_and_never_kafkas_own() {
        let set = TopicSet::parse(&["orders".into(), "/logs-.*|x/".into()]).unwrap();
        assert_eq!(set.names(), ["orders"]);
        assert!(set.matches("logs-a") && set.matches("x"));
        assert!(!set.matches("my-logs-a") && !set.matches("xx"));
        let all = TopicSet::parse(&["/.*/".into()]).unwrap();
        assert!(all.matches("a") && !all.matches("__transaction_state"));
    }

    #[test]
    fn a_wrong_topic_is_named() {
        let check = |topics: &[&str], expect: &str| {
            let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
            let error = TopicSet::parse(&topics).unwrap_err();
            assert!(error.to_string().starts_with(expect), "{error}");
        };
        check(&[], "expected the name of a topic");
        check(&["a b"], "\"a b\" is no name for a topic");
        check(&["/a(/"], "\"/a(/\" is no pattern: unclosed group");
    }
}
