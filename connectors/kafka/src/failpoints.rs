//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "kafka.prepare.before_flush",
        "records lie in the open transaction or in a queue before it",
        "readers of committed records see none of them; they are sent again",
    ),
    Failpoint::of_epoch(
        "kafka.prepare.flushed",
        "the brokers have answered for each record",
        "the same",
    ),
    Failpoint::of_epoch(
        "kafka.prepare.after_token",
        "the token is in the open transaction",
        "the same",
    ),
    Failpoint::of_epoch(
        "kafka.commit.before",
        "the epoch is decided, its transaction is open",
        "it is dropped and made again: each record once",
    ),
    Failpoint::of_epoch(
        "kafka.commit.after",
        "the brokers have committed, nobody was told",
        "the token says so: nothing is sent again",
    ),
];
