//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "lake.prepare.before_files",
        "rows lie in files that are not closed",
        "no reader sees them; the rows are written again",
    ),
    Failpoint::of_epoch(
        "lake.prepare.after_files",
        "the files are durable, the log does not name them",
        "the same",
    ),
    Failpoint::of_epoch(
        "lake.commit.before",
        "the epoch is decided, the log has no entry for it",
        "the entry is made from the checkpoint: each row once",
    ),
    Failpoint::of_epoch(
        "lake.commit.after",
        "the entry is created or refused, nobody was told",
        "the token in the log says so: no second entry",
    ),
];
