//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "another writer appends rows",
        then: "they are left alone; `audit` counts those without an origin as somebody \
               else's",
    },
    Change { when: "another writer adds a column", then: "null in our rows from then on" },
    Change {
        when: "another writer changes a column's type, or the partitions",
        then: "refused at the next start; of what was written before, nothing is published: \
               exit code 2, until the table is restored to what it was",
    },
    Change {
        when: "the table is dropped while we run",
        then: "nothing is committed into the empty folder; the next attempt finds no \
               token where there was one, and says the ways to go on. A table that held \
               nothing of ours is made anew, which is told",
    },
    Change {
        when: "the table is dropped while we do not run",
        then: "no token where there was one: exit code 2 and the ways to go on. What is \
               made anew then has another id, which is told, in the log, the summary \
               and by `audit`",
    },
    Change {
        when: "it is restored to an earlier version (`RESTORE`)",
        then: "goes on: that is a new version, which keeps our tokens; the rows that went \
               with it are missing, which `audit` says",
    },
    Change {
        when: "the files of its log are put back from a copy",
        then: "an earlier token: exit code 2 and the ways to go on",
    },
    Change { when: "files are removed without the log", then: "`audit` names their rows" },
    Change {
        when: "rows are deleted in place (deletion vectors)",
        then: "`audit` asks for the files to be rewritten first",
    },
    Change { when: "the store or the disk fails once", then: "tried again" },
];
