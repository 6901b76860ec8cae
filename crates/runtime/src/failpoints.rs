//! Where a crash would hurt: the protocol, as the loops pass it.

use contract::failpoint::{Failpoint, Passed};

/// The points of the runtime and of the crates below it, whatever the connectors.
pub fn failpoints() -> impl Iterator<Item = &'static Failpoint> {
    FAILPOINTS.iter().chain(state::FAILPOINTS).chain(stores::FAILPOINTS)
}

/// The runtime's own, in the order of a run.
const FAILPOINTS: &[Failpoint] = &[
    Failpoint::of_epoch(
        "lineages.before",
        "the lease is held, nothing says how splits are divided among lineages",
        "it is decided as the pipeline file says then",
    )
    .passed_by(Passed::Start),
    Failpoint::of_epoch(
        "lineages.after",
        "it is decided how splits are divided among lineages, none has begun",
        "they are divided as it was decided",
    )
    .passed_by(Passed::Start),
    Failpoint::of_epoch(
        "scout.starts",
        "where the splits of a source start is decided, no lineage has begun",
        "they start where it was decided",
    )
    .passed_by(Passed::Lineages),
    Failpoint::of_epoch(
        "scout.begun",
        "some lineages have begun, others have not",
        "all start where it was decided",
    )
    .passed_by(Passed::Lineages),
    Failpoint::of_epoch(
        "recover.first",
        "checkpoint 0 was created, nothing was read",
        "everything is read",
    )
    .passed_by(Passed::First),
    Failpoint::of_epoch(
        "recover.owned",
        "the lease is held, sinks are not fenced",
        "the next owner begins as this one",
    )
    .passed_by(Passed::Start),
    Failpoint::of_epoch("recover.fenced", "sinks are fenced, nothing is finished", "the same")
        .passed_by(Passed::Start),
    Failpoint::of_epoch(
        "recover.commit.before",
        "an epoch that was decided before a crash is to be committed",
        "it is committed once",
    )
    .passed_by(Passed::Recovery),
    Failpoint::of_epoch(
        "recover.commit.after",
        "it is committed from what the checkpoint holds, or must be read again",
        "the same",
    )
    .passed_by(Passed::Recovery),
    Failpoint::of_epoch("recover.replay", "it is to be read again", "the same")
        .passed_by(Passed::Replay),
    Failpoint::of_epoch(
        "recover.replayed",
        "it was read again and prepared, not committed",
        "the same",
    )
    .passed_by(Passed::Replay),
    Failpoint::of_epoch(
        "recover.upgraded",
        "a history of an earlier layout has an epoch of no rows in the present one",
        "it goes on; nothing is repeated",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "without_rows.before",
        "an epoch of no rows is to say what is known now: of losses, of sinks, of the layout",
        "the next start says it",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch("without_rows.after", "that epoch is decided", "it is not said again")
        .passed_by(Passed::Apart),
    Failpoint::of_epoch("recover.done", "every sink holds the newest epoch", "nothing is repeated")
        .passed_by(Passed::Start),
    Failpoint::of_epoch(
        "begin.before",
        "a source came later and has listed its splits, nothing of it is decided",
        "the next start decides where they start",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "begin.after",
        "it is decided where they start, none is open",
        "they start where it was decided",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "flow.batch",
        "a batch was worked on, its rows are not sent",
        "its rows come again, once",
    ),
    Failpoint::of_epoch(
        "reader.leaves",
        "a reader found the end of its split and is to give up its place",
        "the epoch never was: its rows come again, once; what came meanwhile comes too",
    )
    .passed_by(Passed::Apart),
    Failpoint::of_epoch(
        "barrier.paused",
        "readers stand still, rows are in queues",
        "the epoch never was: its rows come again, once",
    ),
    Failpoint::of_epoch(
        "prepare.sink.before",
        "a sink is to flush",
        "the epoch never was: its rows come again, once",
    ),
    Failpoint::of_epoch(
        "prepare.sink.after",
        "it has flushed, others may not have",
        "the epoch never was: its rows come again, once",
    ),
    Failpoint::of_epoch(
        "prepare.sinks",
        "all sinks are prepared, dead letters are not",
        "the epoch never was: its rows come again, once",
    ),
    Failpoint::of_epoch(
        "prepare.done",
        "dead letters are prepared too",
        "the epoch never was: its rows come again, once",
    ),
    Failpoint::of_epoch(
        "decide.before",
        "nothing is left but the decision",
        "the epoch never was: its rows come again, once",
    ),
    Failpoint::of_epoch(
        "decide.after",
        "the checkpoint is there: the epoch is decided",
        "the epoch is finished by the next start, each row once",
    ),
    Failpoint::of_epoch(
        "commit.sink.before",
        "a sink is to commit, others may have",
        "the epoch is finished by the next start, each row once",
    ),
    Failpoint::of_epoch(
        "commit.sink.after",
        "a sink has committed, others may not have",
        "the epoch is finished by the next start, each row once",
    ),
    Failpoint::of_epoch(
        "publish.done",
        "every sink holds the epoch, sources were not told",
        "nothing is read or written again",
    ),
    Failpoint::of_epoch("acknowledge.done", "sources were told", "the same"),
    Failpoint::of_epoch(
        "complete.before",
        "all is done, the mark of a clean end is missing",
        "the next start asks the sinks; nothing changes",
    )
    .passed_by(Passed::Start),
    Failpoint::of_epoch("complete.after", "the mark is there", "the next start has nothing to do")
        .passed_by(Passed::Start),
];
