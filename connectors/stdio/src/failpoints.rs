//! Where a crash would hurt.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[Failpoint::of_epoch(
    "stdio.prepare.before_flush",
    "rows are written, the end of them may wait in a buffer",
    "each row was printed once or more, none is missing",
)];
