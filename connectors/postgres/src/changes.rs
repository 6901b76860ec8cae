//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "a column's type changes, a column is added, dropped or renamed, a \
               default or `NOT NULL` comes or goes",
        then: "the `ALTER` waits for the epoch under way; the next epoch reads the \
               columns again, then goes on or stops with the column and both types (2)",
    },
    Change {
        when: "replaced: dropped or renamed away, another table, view or schema takes \
               the name",
        then: "as above. The history knows the table's number (`oid`): another one is \
               told, in the log, the summary and by `audit`, with the epochs whose rows \
               went into the old one. A view without an `INSTEAD OF` trigger stops (1)",
    },
    Change {
        when: "dropped",
        then: "stops (1). At the next start, with `create: true` too, exit code 2: the \
               table is not made anew while a token says that it held rows. The message \
               has the ways out",
    },
    Change {
        when: "emptied (`TRUNCATE`, `DELETE`)",
        then: "goes on; `audit` names what is missing",
    },
    Change { when: "locked", then: "waits as long as `statement_timeout`, then repeats the epoch" },
    Change {
        when: "the server stops, fails over or is read-only",
        then: "the epoch is repeated until it takes rows again",
    },
];
