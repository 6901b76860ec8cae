//! Where records stand: splits, positions, lineages and origins.
//!
//! A position names the *next* record to read and ranges are half-open, everywhere. The runtime
//! compares and stores positions; only the connector that made one understands it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The name of a split, assigned once and never changed (a path, a partition, a blob).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SplitId(Arc<str>);

impl SplitId {
    /// Names a split.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SplitId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a reader stands in a split: the next record to read.
///
/// `at` orders positions and is the number in the column `_position`. `note` is the connector's
/// own (a fingerprint, the fact that the last line had no end); like `shortcut`, it takes no part
/// in comparisons.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The number of the next record: a byte, an offset, an index.
    pub at: i64,
    /// What else the connector must know to go on from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// What spares its source work that goes on from here.
    #[serde(default, skip_serializing_if = "is_kept_nowhere")]
    pub shortcut: Option<Arc<Shortcut>>,
}

/// What spares a source work that goes on from a position: the state of a decoder before it. It is
/// never the truth: a source that has none comes to the same, later.
///
/// A source gives it beside a position, the same one again and again as long as it serves. The
/// runtime keeps its content in a file of its own, once, and gives it back with the position from
/// which a split is opened again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcut {
    /// Where it leads to, as its source counts: a split has one shortcut to a place.
    pub at: u64,
    /// The content, compressed by nobody yet; none where it was not fetched.
    #[serde(skip)]
    pub content: Bytes,
    /// The file that has the content; none as long as no checkpoint names it.
    #[serde(flatten)]
    pub kept: Option<KeptShortcut>,
}

/// The file in which a shortcut is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptShortcut {
    /// The name, without folders.
    pub name: Arc<str>,
    /// Its bytes.
    pub bytes: u64,
}

/// Nothing names what only memory has.
fn is_kept_nowhere(shortcut: &Option<Arc<Shortcut>>) -> bool {
    shortcut.as_ref().is_none_or(|shortcut| shortcut.kept.is_none())
}

impl Position {
    /// A position without a note.
    pub fn new(at: i64) -> Self {
        Self { at, note: None, shortcut: None }
    }

    /// Adds what the connector must know to go on from here.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<Arc<str>>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds what spares its source work.
    #[must_use]
    pub fn with_shortcut(mut self, shortcut: Option<Arc<Shortcut>>) -> Self {
        self.shortcut = shortcut;
        self
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// How the names of lineages begin that replay dead letters.
const REPLAY: &str = "replay-";

/// A set of splits with one chain of epochs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(Arc<str>);

impl Lineage {
    /// Names a lineage.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The lineage of a pipeline in one process.
    pub fn main() -> Self {
        Self::new("main")
    }

    /// The lineage of a split that is one of its own.
    pub fn of_split(source: &str, split: &SplitId) -> Self {
        Self::new(format!("{source}.{}", split.as_str().replace('/', ".")))
    }

    /// The lineage of one replay of dead letters.
    pub fn replay(request: &str) -> Self {
        Self::new(format!("{REPLAY}{request}"))
    }

    /// Whether it gives records again that another lineage read.
    pub fn is_replay(&self) -> bool {
        self.0.starts_with(REPLAY)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a record came from, written `split@position`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The split that it was read from.
    pub split: SplitId,
    /// Its number in that split.
    pub position: i64,
}

impl Origin {
    /// Reads `split@position`; the split may itself contain `@`.
    pub fn parse(text: &str) -> Option<Self> {
        let (split, position) = text.rsplit_once('@')?;
        let position = position.parse().ok()?;
        (!split.is_empty()).then(|| Self { split: SplitId::new(split), position })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.split, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortcut_is_named_once_a_file_has_it() {
        let mut shortcut = Shortcut { at: 9, content: Bytes::from_static(b"..."), kept: None };
        let written = |shortcut: &Shortcut| {
            let position = Position::new(10).with_shortcut(Some(Arc::new(shortcut.clone())));
            serde_json::to_string(&position).expect("JSON")
        };
        assert_eq!(written(&shortcut), r#"{"at":10}"#);
        shortcut.kept = Some(KeptShortcut { name: "inflate-1".into(), bytes: 3 });
        let text = r#"{"at":10,"shortcut":{"at":9,"name":"inflate-1","bytes":3}}"#;
        assert_eq!(written(&shortcut), text);
        let read: Position = serde_json::from_str(text).expect("JSON");
        let read = read.shortcut.expect("it is named");
        assert_eq!((read.at, &read.kept), (9, &shortcut.kept));
        assert!(read.content.is_empty(), "its content stands elsewhere");
    }

    #[test]
    fn an_origin_reads_what_it_writes() {
        let origin = Origin::parse("logs/a@b.log@42").expect("well formed");
        assert_eq!((origin.split.as_str(), origin.position), ("logs/a@b.log", 42));
        assert_eq!(origin.to_string(), "logs/a@b.log@42");
        assert_eq!(Origin::parse("no position"), None);
    }
}
