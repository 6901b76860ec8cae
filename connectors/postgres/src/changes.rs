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
        proofs: &[
            "values_of_one_type_never_land_in_a_column_of_another",
            "columns_that_come_and_go_are_met",
            "a_table_stays_as_it_is_while_an_epoch_is_open",
        ],
    },
    Change {
        when: "replaced: dropped or renamed away, another table, view or schema takes \
               the name",
        then: "as above. The history knows the table's number (`oid`): another one is \
               told, in the log, the summary and by `audit`, with the epochs whose rows \
               went into the old one. A view without an `INSTEAD OF` trigger stops (1)",
        proofs: &[
            "another_table_under_the_name_is_looked_at_first",
            "a_table_that_became_a_view_is_told",
            "a_schema_that_took_the_place_of_another_is_noticed_before_the_decision",
            "a_table_made_anew_under_a_running_pipeline_is_told",
        ],
    },
    Change {
        when: "dropped",
        then: "stops (1). At the next start, with `create: true` too, exit code 2: the \
               table is not made anew while a token says that it held rows. The message \
               has the ways out",
        proofs: &["a_table_that_was_dropped_is_not_made_anew_without_a_word"],
    },
    Change {
        when: "dropped, where rows name tables",
        then: "the epoch is sent again: the table is made anew and its other number told, or its \
               rows are dead letters; the others go on",
        proofs: &["a_table_that_rows_name_and_that_was_dropped_takes_no_other_one_with_it"],
    },
    Change {
        when: "emptied (`TRUNCATE`, `DELETE`)",
        then: "goes on; `audit` names what is missing",
        proofs: &["a_table_that_is_emptied_gets_nothing_again"],
    },
    Change {
        when: "locked",
        then: "waits as long as `statement_timeout`, then repeats the epoch",
        proofs: &["a_table_that_is_locked_is_waited_for_as_long_as_the_statement_timeout"],
    },
    Change {
        when: "the server stops, fails over or is read-only",
        then: "the epoch is repeated until it takes rows again",
        proofs: &[
            "a_connection_that_is_lost_takes_its_epoch_with_it",
            "a_database_that_is_read_only_is_waited_for",
        ],
    },
];
