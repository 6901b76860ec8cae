//! Where a crash would hurt: on local disk.

use contract::failpoint::Failpoint;

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[Failpoint::of_epoch(
    "store.put.staged",
    "a file on local disk is written and has no name yet: a checkpoint, an object",
    "it never was; what is left of it is removed",
)];
