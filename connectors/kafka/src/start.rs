//! Where a pipeline begins to read on its first run.
//!
//! A setting becomes an offset for each partition once, before its first record is read; the
//! offset then stands in the split's descriptor and no longer moves.

use std::collections::BTreeMap;

use chrono::DateTime;
use contract::{Error, Result};
use rdkafka::topic_partition_list::Offset;

use crate::catalog::{Catalog, Partition};
use crate::config::StartSetting;

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// Behind the newest.
    Latest,
    /// At the first record that is not older, in milliseconds since 1970.
    Time(i64),
    /// At these offsets, by `topic/partition`; others at the oldest record.
    Offsets(BTreeMap<String, i64>),
}

impl Start {
    /// Reads the setting.
    ///
    /// # Errors
    /// Config: it is none of the forms.
    pub fn parse(setting: &StartSetting) -> Result<Self> {
        let word = match setting {
            StartSetting::Offsets(offsets) => {
                if let Some((name, _)) = offsets.iter().find(|(_, offset)| **offset < 0) {
                    return Err(wrong(format!("the offset of {name:?} is negative")));
                }
                return Ok(Self::Offsets(offsets.clone()));
            }
            StartSetting::Word(word) => word,
        };
        match word.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => match DateTime::parse_from_rfc3339(time) {
                Ok(time) => Ok(Self::Time(time.timestamp_millis())),
                Err(_) => Err(wrong(format!("{time:?} is no start"))),
            },
        }
    }

    /// The first offset of each partition. Blocks.
    ///
    /// # Errors
    /// Config: an offset that the log does not have. External: the brokers do not answer.
    pub fn resolve(&self, catalog: &Catalog, partitions: &[Partition]) -> Result<Vec<i64>> {
        match self {
            Self::Earliest => catalog.offsets(partitions, Offset::Beginning),
            Self::Latest => catalog.offsets(partitions, Offset::End),
            Self::Time(millis) => catalog.offsets(partitions, Offset::Offset(*millis)),
            Self::Offsets(offsets) => given(offsets, catalog, partitions),
        }
    }
}

fn given(
    offsets: &BTreeMap<String, i64>,
    catalog: &Catalog,
    partitions: &[Partition],
) -> Result<Vec<i64>> {
    let ids: Vec<_> = partitions.iter().map(|partition| partition.split()).collect();
    if let Some(name) = offsets.keys().find(|name| !ids.iter().any(|id| id.as_str() == *name)) {
        return Err(wrong(format!("{name:?} is no partition that is read")));
    }
    let lows = catalog.offsets(partitions, Offset::Beginning)?;
    let highs = catalog.offsets(partitions, Offset::End)?;
    let mut starts = Vec::with_capacity(lows.len());
    for (id, (low, high)) in ids.iter().zip(lows.into_iter().zip(highs)) {
        let start = offsets.get(id.as_str()).copied().unwrap_or(low);
        if !(low..=high).contains(&start) {
            return Err(wrong(format!(
                "the log of \"{id}\" goes from {low} to {high}, it has no offset {start}"
            )));
        }
        starts.push(start);
    }
    Ok(starts)
}

fn wrong(message: String) -> Error {
    Error::config(message).field("start").hint(
        "write `earliest`, `latest`, a time such as `2026-01-31T00:00:00Z`, or offsets such as \
         `{ \"orders/0\": 1200 }`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_a_time_or_offsets() {
        let check = |word: &str, expect: Option<Start>| {
            assert_eq!(Start::parse(&StartSetting::Word(word.to_owned())).ok(), expect, "{word}");
        };
        check("earliest", Some(Start::Earliest));
        check("latest", Some(Start::Latest));
        check("1970-01-01T01:00:00.5+01:00", Some(Start::Time(500)));
        check("yesterday", None);
        let offsets = BTreeMap::from([("a/0".to_owned(), -1)]);
        assert!(Start::parse(&StartSetting::Offsets(offsets)).is_err());
    }
}
