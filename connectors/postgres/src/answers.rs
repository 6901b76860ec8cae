//! What the sink makes of what its destination answers to rows. The page on reliability has the
//! answers of all sinks in one table.

use contract::spec::{About, Answer};

/// In the order of the page.
pub const ANSWERS: &[Answer] = &[
    Answer {
        answer: "SQLSTATE `22`, `23`, `44`, `54`: data, constraints, limits",
        about: About::Row,
        then: "the others get in",
        proofs: &[
            "what_a_table_refuses_by_itself_is_about_the_row",
            "one_bad_row_among_thousands_is_found",
        ],
    },
    Answer {
        answer: "an exception that a trigger raises, with any state (`P0001`, `U0001`, `42…` \
               by `RAISE`)",
        about: About::Row,
        then: "the others get in",
        proofs: &["what_a_trigger_raises_is_about_the_row_whatever_its_state"],
    },
    Answer {
        answer: "SQLSTATE `08`, `25`, `40`, `53`, `55`, `57`, `58`: connection, transaction, \
               deadlock, resources, locks, operator, system",
        about: About::Waits,
        then: "the epoch is repeated",
        proofs: &[
            "what_may_pass_is_tried_again_whoever_raised_it",
            "a_connection_that_is_lost_takes_its_epoch_with_it",
            "a_database_that_is_read_only_is_waited_for",
        ],
    },
    Answer {
        answer: "a lock on the table",
        about: About::Waits,
        then: "as long as `statement_timeout`, then the epoch is repeated",
        proofs: &["a_table_that_is_locked_is_waited_for_as_long_as_the_statement_timeout"],
    },
    Answer {
        answer: "SQLSTATE `28`, `42`, `3D`, `3F`, `0A`, `HV` and what else is about the one \
               table, schemas, rights and logins",
        about: About::Stops,
        then: "rejects nothing",
        proofs: &[
            "what_is_about_the_schema_stops_and_refuses_nothing",
            "what_is_about_the_destination_rejects_nothing",
            "a_right_that_is_taken_away_stops_and_rejects_nothing",
        ],
    },
    Answer {
        answer: "columns that do not fit by now, of the one table of all rows",
        about: About::Stops,
        then: "names the column and both types",
        proofs: &[
            "values_of_one_type_never_land_in_a_column_of_another",
            "a_table_that_cannot_fit_is_refused_before_anything_is_written",
        ],
    },
    Answer {
        answer: "SQLSTATE `42`, `0A`, `HV`, `55000`: a table that is not there, is none, does not \
               fit, or may not be written or created, where rows name tables",
        about: About::Row,
        then: "rows that name another table get in",
        proofs: &[
            "a_table_that_rows_name_and_nobody_made_refuses_its_rows_alone",
            "whatever_stands_under_a_name_that_rows_give_stops_no_other_row",
            "a_table_that_was_written_and_may_not_be_by_now_refuses_its_rows_alone",
            "a_right_to_create_that_is_missing_refuses_rows_that_name_new_tables",
        ],
    },
    Answer {
        answer: "a trigger that leaves rows out without a word",
        about: About::Stops,
        then: "nobody could say where they went",
        proofs: &["a_trigger_that_leaves_rows_out_is_told"],
    },
];
