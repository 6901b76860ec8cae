//! Where a crash would hurt: decisions, leases, and the packing of old checkpoints.

use contract::failpoint::{Failpoint, Passed};

/// Every point, in the order of an epoch.
pub const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "decide.answer",
        "the checkpoint is created or refused, the answer is not read",
        "who asks again finds the checkpoint: it is decided",
    ),
    Failpoint::of_epoch(
        "rejects.before",
        "refused rows are too many for a checkpoint and stand nowhere yet",
        "the epoch never was: its rows come again, once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "rejects.after",
        "they stand beside the checkpoint, which is not there",
        "the epoch never was; nobody reads what stands beside it",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "copy.before",
        "a step made rows of many, and they stand nowhere yet",
        "the epoch never was: its rows come again, and are made again of them",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "copy.after",
        "they are kept, and no checkpoint names them",
        "the epoch never was; nobody reads what was kept, and other rows may be made",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "inflate.before",
        "what spares readers of growing archives work is in memory alone",
        "the epoch never was: its rows come again, once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "inflate.after",
        "it stands in files that no checkpoint names",
        "the epoch never was; the files are nobody's, and go with the next collection",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "layer.before",
        "splits that changed are too many for a checkpoint and stand nowhere yet",
        "the epoch never was: its rows come again, once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "layer.after",
        "they stand in a file that no checkpoint names",
        "the epoch never was; the file is nobody's, and goes with the next collection",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "base.before",
        "all splits are merged, and stand in their earlier files alone",
        "the earlier files are read",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "base.after",
        "the merged file is there, and no checkpoint names it",
        "the earlier files are read; the new one goes with the next collection",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "collect.deleted",
        "a file that no checkpoint names is gone, others are there",
        "nothing that is needed is gone",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "lease.renew",
        "a lease in a shared store is about to be renewed",
        "who sleeps here finds out that it was taken, before it decides",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "tidy.deleted",
        "a state or a mark that nobody needs is gone, others are there",
        "nothing that is needed is gone",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "pack.block",
        "some of the old checkpoints are in a pack that is not there yet",
        "they lie under their own names, and each epoch counts once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "pack.written",
        "old checkpoints lie in a pack and under their own names",
        "each epoch counts once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "pack.deleted",
        "some of them have lost their own names",
        "each epoch counts once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "fold.block",
        "some of the packs are added up in a fold that is not there yet",
        "they are there, and each epoch counts once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "fold.written",
        "packs are added up, and are there too",
        "each epoch counts once",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch("fold.deleted", "some of these packs are gone", "each epoch counts once")
        .passed_by(Passed::Apart),
];
