//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "postgres.commit.before",
        "the epoch is decided, its transaction is open",
        "the server drops it; it is made again, each row once",
    ),
    Failpoint::of_epoch(
        "postgres.commit.token",
        "the token has changed in the open transaction",
        "the same",
    ),
    Failpoint::of_epoch(
        "postgres.commit.after",
        "the server has committed, nobody was told",
        "the token says so: nothing is written again",
    ),
];
