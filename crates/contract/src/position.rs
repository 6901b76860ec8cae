//! Where records stand: splits, positions, lineages and origins.
//!
//! A position names the *next* record to read and ranges are half-open, everywhere. The runtime
//! compares and stores positions; only the connector that made one understands it.

use std::fmt;
use std::sync::Arc;

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
/// own (a fingerprint, the fact that the last line had no end); it takes no part in comparisons.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The number of the next record: a byte, an offset, an index.
    pub at: i64,
    /// What else the connector must know to go on from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
}

impl Position {
    /// A position without a note.
    pub fn new(at: i64) -> Self {
        Self { at, note: None }
    }

    /// Adds what the connector must know to go on from here.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<Arc<str>>) -> Self {
        self.note = Some(note.into());
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
    fn an_origin_reads_what_it_writes() {
        let origin = Origin::parse("logs/a@b.log@42").expect("well formed");
        assert_eq!((origin.split.as_str(), origin.position), ("logs/a@b.log", 42));
        assert_eq!(origin.to_string(), "logs/a@b.log@42");
        assert_eq!(Origin::parse("no position"), None);
    }
}
