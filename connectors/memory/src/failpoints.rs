//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "memory.commit.before",
        "an epoch is decided and not visible",
        "the epoch is finished by the next start, each row once",
    ),
    Failpoint::of_epoch(
        "memory.commit.after",
        "it is visible, nobody was told",
        "the epoch is finished by the next start, each row once",
    ),
];
