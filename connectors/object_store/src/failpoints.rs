//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "object_store.prepare.before",
        "objects are encoded in part",
        "nobody sees them; the rows are written again",
    ),
    Failpoint::of_epoch(
        "object_store.prepare.after",
        "objects are whole and durable in uploads that nobody sees",
        "the same",
    ),
    Failpoint::of_epoch(
        "object_store.commit.before",
        "the epoch is decided, none of its objects is there",
        "all of them are there, each once",
    ),
    Failpoint::of_epoch("object_store.commit.object", "some of its objects are there", "the same"),
    Failpoint::of_epoch(
        "object_store.commit.after",
        "all of its objects are there, nobody was told",
        "they are published again as they are",
    ),
];
