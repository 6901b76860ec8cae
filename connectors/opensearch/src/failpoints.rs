//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "opensearch.bulk.before",
        "a bulk is made and not sent",
        "its documents are sent again, each is there once",
    ),
    Failpoint::of_epoch(
        "opensearch.bulk.after",
        "the cluster has answered, the answer is not read",
        "they are sent again and overwrite themselves",
    ),
    Failpoint::of_epoch("opensearch.prepare.before", "bulks are on their way", "the same"),
    Failpoint::of_epoch("opensearch.prepare.after", "the last bulk is answered", "the same"),
];
