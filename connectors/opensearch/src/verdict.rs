//! What the cluster's answer to one row means: delivered, sent again, refused for good, or a
//! matter for whoever runs the cluster. The README has the table.
//!
//! What is about the destination is never blamed on a row: it waits until somebody has seen to it.

use serde::Deserialize;
use serde_json::Value;

/// What is said of one row.
#[derive(Debug, Deserialize)]
pub struct Item {
    /// The index that it went to; an alias stands for another one.
    #[serde(rename = "_index", default)]
    pub index: String,
    /// Its `_id`.
    #[serde(rename = "_id", default)]
    pub id: String,
    /// As of HTTP.
    pub status: u16,
    /// What was done: `created`, `updated`, or `noop` where an ingest pipeline dropped it.
    #[serde(default)]
    pub result: String,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Value>,
}

/// What an item's answer means for its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The row stands in the index.
    Delivered,
    /// A document of a higher version stands there.
    Conflict,
    /// The cluster answers with success, and did not write the row.
    Dropped,
    /// Nothing in the row is wrong, and it may pass, perhaps once somebody has acted.
    Again,
    /// The row will never be taken.
    Never,
    /// Nothing in the row is wrong, and nothing will change by itself.
    Stop,
}

/// Errors of the destination, with what helps. The servers answer some of them with status 400, as
/// if the row were wrong.
const OF_THE_DESTINATION: [(&str, &str); 6] = [
    ("index_closed_exception", "the index is closed: open it with `POST /INDEX/_open`"),
    (
        "cluster_block_exception",
        "writing is blocked: make room on the disks, or take the block away",
    ),
    ("index_create_block_exception", "making indices is blocked: take the block away"),
    (
        "index_not_found_exception",
        "make the index, or let the cluster make it (`auto_create_index`)",
    ),
    ("validation_exception", "the index cannot be made: look at the cluster's limit of shards"),
    ("resource_already_exists_exception", "several made the index at once"),
];
/// The same for what the servers call an illegal argument, as they call mistakes of rows too.
const ILLEGAL: &str = "illegal_argument_exception";
const OF_THE_NAME: [(&str, &str); 4] = [
    ("no write index is defined for alias", "choose the alias's write index"),
    ("has more than one ind", "choose the alias's write index"),
    ("op_type of create", "`index` names a data stream, which takes no versions: name an index"),
    ("pipeline with id", "make the ingest pipeline that the index names, or take its name away"),
];

impl Item {
    /// What the answer means.
    pub fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => match self.result.as_str() {
                "created" | "updated" => Verdict::Delivered,
                "noop" => Verdict::Dropped,
                // Nothing says that it was written.
                _ => Verdict::Again,
            },
            409 if self.kind() == "version_conflict_engine_exception" => Verdict::Conflict,
            // Some other state that it is in the way of.
            409 => Verdict::Again,
            _ if self.hint().is_some() => Verdict::Again,
            408 | 429 | 500.. => Verdict::Again,
            400 | 413 => Verdict::Never,
            _ => Verdict::Stop,
        }
    }

    /// What the servers call the error; nothing where there is none.
    fn kind(&self) -> &str {
        self.error.as_ref().and_then(|error| error["type"].as_str()).unwrap_or_default()
    }

    /// The way out, where the destination is at fault.
    pub fn hint(&self) -> Option<&'static str> {
        let error = self.error.as_ref()?;
        let kind = self.kind();
        let reason = error["reason"].as_str().unwrap_or_default();
        let known = OF_THE_DESTINATION.iter().find(|(known, _)| *known == kind);
        let known = known.or_else(|| {
            OF_THE_NAME.iter().find(|(part, _)| kind == ILLEGAL && reason.contains(part))
        });
        known.map(|(_, hint)| *hint)
    }

    /// Why the cluster refuses a row, with the innermost cause.
    pub fn reason(&self) -> String {
        let Some(error) = &self.error else {
            return format!("status {} with result {:?}", self.status, self.result);
        };
        let text = |error: &Value| {
            let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", part("type"), part("reason"))
        };
        let mut reason = text(error);
        let mut cause = &error["caused_by"];
        while cause.is_object() {
            if !cause["caused_by"].is_object() {
                reason = format!("{reason}: {}", text(cause));
            }
            cause = &cause["caused_by"];
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(status: u16, error: Option<Value>) -> Item {
        let result = if status < 300 { "created" } else { "" }.to_owned();
        Item { index: "logs".to_owned(), id: "1".to_owned(), status, result, error }
    }

    fn check(status: u16, kind: &str, expect: Verdict) {
        let error = (!kind.is_empty()).then(|| json!({ "type": kind }));
        assert_eq!(item(status, error).verdict(), expect, "{status} {kind}");
    }

    #[test]
    fn only_the_row_itself_makes_a_dead_letter() {
        check(201, "", Verdict::Delivered);
        check(409, "version_conflict_engine_exception", Verdict::Conflict);
        check(409, "snapshot_in_progress_exception", Verdict::Again);
        check(400, "mapper_parsing_exception", Verdict::Never);
        check(400, "strict_dynamic_mapping_exception", Verdict::Never);
        check(400, "illegal_argument_exception", Verdict::Never);
        check(413, "", Verdict::Never);
        check(429, "es_rejected_execution_exception", Verdict::Again);
        check(503, "unavailable_shards_exception", Verdict::Again);
        check(403, "cluster_block_exception", Verdict::Again);
        check(429, "cluster_block_exception", Verdict::Again);
        check(400, "index_closed_exception", Verdict::Again);
        check(400, "validation_exception", Verdict::Again);
        check(403, "index_create_block_exception", Verdict::Again);
        check(404, "index_not_found_exception", Verdict::Again);
        check(403, "security_exception", Verdict::Stop);
    }

    #[test]
    fn success_is_what_was_written() {
        for (result, expect) in [
            ("created", Verdict::Delivered),
            ("updated", Verdict::Delivered),
            ("noop", Verdict::Dropped),
            ("", Verdict::Again),
        ] {
            let item = Item { result: result.to_owned(), ..item(200, None) };
            assert_eq!(item.verdict(), expect, "{result}");
        }
    }

    #[test]
    fn an_illegal_argument_may_be_the_destinations() {
        for (reason, expect) in [
            ("no write index is defined for alias [logs]. The write index may be", Verdict::Again),
            (
                "only write ops with an op_type of create are allowed in data streams",
                Verdict::Again,
            ),
            ("pipeline with id [geo] does not exist", Verdict::Again),
            ("Limit of total fields [1000] has been exceeded", Verdict::Never),
            ("Document contains at least one immense term in field=\"a\"", Verdict::Never),
        ] {
            let item = item(400, Some(json!({ "type": ILLEGAL, "reason": reason })));
            assert_eq!(item.verdict(), expect, "{reason}");
        }
    }

    #[test]
    fn a_reason_names_the_innermost_cause() {
        let error = json!({
            "type": "mapper_parsing_exception", "reason": "failed to parse field [status]",
            "caused_by": { "type": "illegal", "reason": "x", "caused_by": {
                "type": "number_format_exception", "reason": "For input string: \"abc\"" } },
        });
        assert_eq!(
            item(400, Some(error)).reason(),
            "mapper_parsing_exception: failed to parse field [status]: number_format_exception: \
             For input string: \"abc\""
        );
    }
}
