//! Versions of documents: which of two rows with one `_id` stays, and whether a row that had to
//! give way gave way to the right one.
//!
//! The version is the moment of the row's epoch, which its checkpoint records: an epoch that is
//! sent again has the same one, whoever begins later (another lineage, a replay of dead letters, a
//! history begun anew) a later one, and a process that was replaced an earlier one. Within a
//! lineage moments never go back; those of two lineages or histories are as good as the clocks of
//! their machines. So a row that had to give way counts as delivered only where no clock is asked.

use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT, split_seed};
use contract::sink::Stage;
use contract::{Lineage, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bulk::Document;
use crate::client::{Client, Method};

/// Bits below the microseconds; they tell apart lineages whose epochs begin at once. What is left
/// lasts until the year 2255.
const LINEAGE_BITS: u32 = 10;
/// Only what is looked at is answered.
const PATH: &str = "/_mget?filter_path=docs.found,docs._version,docs._source";

/// The version of rows of a lineage's epoch that began at a moment, in microseconds since 1970.
pub fn of(lineage: &Lineage, now_us: i64) -> i64 {
    let moment = now_us.clamp(0, i64::MAX >> LINEAGE_BITS) << LINEAGE_BITS;
    let lineage = split_seed(lineage.as_str()) & ((1 << LINEAGE_BITS) - 1);
    moment | lineage as i64
}

/// What became of a row that met a document of a higher version.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// The document holds all of this very row; or the row stood there before its epoch was
    /// decided, and one of an epoch that began later has taken its place.
    Delivered,
    /// There is no such document any more.
    Again,
    /// Nothing proves that the document which stands there may stand for the row.
    Foreign(String),
}

/// The documents that stand where rows had to give way.
#[derive(Deserialize)]
struct Standing {
    docs: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_version", default)]
    version: i64,
    #[serde(rename = "_source", default)]
    source: Value,
}

/// Looks at the documents that rows had to give way to, each with the index that refused it.
///
/// # Errors
/// External: the cluster does not answer, or refuses to say.
pub async fn settle(client: &Client, rows: &[(Document, String)]) -> Result<Vec<Settled>> {
    let docs = rows.iter().map(|(row, index)| json!({ "_index": index, "_id": row.id }));
    let body = json!({ "docs": docs.collect::<Vec<_>>() });
    let failed = || "could not read what rows had to give way to".to_owned();
    let answer = client.call(Method::Post, PATH, Some(&body)).await?.json(failed)?;
    let broken = || contract::Error::transient(failed());
    let standing: Standing =
        serde_json::from_value(answer).map_err(|error| broken().because(error))?;
    if standing.docs.len() != rows.len() {
        return Err(broken());
    }
    let pairs = rows.iter().zip(&standing.docs);
    Ok(pairs.map(|((row, _), found)| judge(row, found)).collect())
}

fn judge(row: &Document, found: &Found) -> Settled {
    match (found.found, row.named) {
        (false, _) => Settled::Again,
        (true, true) => judge_named(row, found),
        (true, false) if holds(&found.source, row) => Settled::Delivered,
        (true, false) => Settled::Foreign(format!(
            "a document of version {} with other values stands under the _id of this record; \
             ours would have version {}",
            found.version, row.version
        )),
    }
}

/// Whether a document holds all that a row says, but for the epoch that it was sent in. An ingest
/// pipeline may have added to it.
fn holds(source: &Value, row: &Document) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_slice(row.source()) else { return false };
    source.is_object()
        && fields.iter().all(|(name, value)| name == EPOCH || source.get(name) == Some(value))
}

fn judge_named(row: &Document, found: &Found) -> Settled {
    let source = &found.source;
    let origin = source[SPLIT].as_str().zip(source[POSITION].as_i64());
    let same = origin == Some((row.split.as_str(), row.position))
        && source[ORDINAL].as_i64().unwrap_or_default() == row.ordinal;
    if same && holds(source, row) {
        return Settled::Delivered;
    }
    // Without origins the version alone tells.
    let ours = !row.with_origin || (origin.is_some() && !source[EPOCH].is_null());
    if ours && row.stage == Stage::Decided && found.version > row.version {
        return Settled::Delivered;
    }
    let what = match origin {
        _ if same => "with other values".to_owned(),
        Some((split, position)) => format!("of record {position} of split {split:?}"),
        None if row.with_origin => "which this pipeline did not write".to_owned(),
        None => "with other values, or of another record,".to_owned(),
    };
    Settled::Foreign(format!(
        "a document of version {} {what} stands under this _id; ours would have version {}",
        found.version, row.version
    ))
}

#[cfg(test)]
mod tests {
    use contract::SplitId;

    use super::*;

    const NOW_US: i64 = 1_800_000_000_000_000;

    #[test]
    fn whatever_begins_later_has_a_higher_version() {
        let main = Lineage::new("main");
        let replay = Lineage::replay("0123456789ab");
        assert_eq!(of(&main, NOW_US), of(&main, NOW_US), "the same epoch again");
        assert!(of(&main, NOW_US) < of(&main, NOW_US + 1));
        assert!(of(&main, NOW_US) < of(&replay, NOW_US + 1));
        assert!(of(&replay, NOW_US) < of(&main, NOW_US + 1));
        assert_ne!(of(&main, NOW_US), of(&replay, NOW_US), "two lineages at once");
        // Epochs were versions before.
        assert!(of(&main, NOW_US) > 1 << 40);
        assert!(of(&main, i64::MAX) > 0);
    }

    fn check(stage: Stage, with_origin: bool, found: Value, expect: &Settled) {
        let version = of(&Lineage::new("main"), NOW_US);
        let row = Document {
            split: SplitId::new("a.log"),
            position: 7,
            ordinal: 0,
            id: "x".to_owned(),
            version,
            stage,
            named: true,
            with_origin,
            lines: b"{}\n{\"v\":\"new\",\"_epoch\":1}".to_vec(),
            earlier: Vec::new(),
        };
        let found: Found = serde_json::from_value(found).expect("a document");
        let settled = match judge(&row, &found) {
            Settled::Foreign(_) => Settled::Foreign(String::new()),
            settled => settled,
        };
        assert_eq!(&settled, expect, "{}", found.source);
    }

    #[test]
    fn a_row_gives_way_to_itself_and_once_it_was_taken_to_later_epochs_of_ours() {
        use Stage::{Decided, Undecided};
        let later = of(&Lineage::new("k.t.1"), NOW_US + 5);
        let origin =
            |position: i64| json!({ "_split": "a.log", "_position": position, "_epoch": 9 });
        let foreign = Settled::Foreign(String::new());
        check(Undecided, true, json!({ "found": false }), &Settled::Again);
        let mut itself = origin(7);
        itself["v"] = json!("new");
        let itself = json!({ "found": true, "_version": i64::MAX, "_source": itself });
        check(Undecided, true, itself, &Settled::Delivered);
        // Another history read other values there, while a clock was ahead, however little.
        let mut altered = origin(7);
        altered["v"] = json!("old");
        for found in [altered, origin(9)] {
            let found = json!({ "found": true, "_version": later, "_source": found });
            check(Undecided, true, found.clone(), &foreign);
            check(Decided, true, found, &Settled::Delivered);
        }
        let stranger = json!({ "found": true, "_version": later, "_source": {} });
        check(Undecided, true, stranger.clone(), &foreign);
        check(Decided, true, stranger.clone(), &foreign);
        check(Undecided, false, stranger.clone(), &foreign);
        check(Decided, false, stranger, &Settled::Delivered);
    }
}
