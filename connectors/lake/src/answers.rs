//! What the sink makes of what its destination answers to rows. The page on reliability has the
//! answers of all sinks in one table.

use contract::spec::{About, Answer};

/// In the order of the page.
pub const ANSWERS: &[Answer] = &[
    Answer {
        answer: "the store or the disk fails, another writer is faster",
        about: About::Waits,
        then: "the commit is repeated on what the log holds by then",
        proofs: &[
            "a_disk_that_fails_while_a_log_is_read_is_read_again",
            "writers_that_race_for_one_entry_of_the_log_lose_none",
        ],
    },
    Answer {
        answer: "the table was dropped",
        about: About::Waits,
        then: "nothing is committed; the next attempt says the ways to go on",
        proofs: &["a_table_that_is_dropped_is_found_out_before_the_decision"],
    },
    Answer {
        answer: "another type, partitions, `NOT NULL` with nulls, a constraint, a dropped \
               column",
        about: About::Stops,
        then: "before the decision where it can be seen; rejects nothing",
        proofs: &[
            "a_type_that_changes_is_refused_before_the_decision",
            "a_column_that_must_not_be_null_takes_values_and_no_nulls",
            "a_column_that_is_dropped_comes_back_by_a_new_start_alone",
            "rules_that_nobody_checks_here_are_refused",
        ],
    },
    Answer {
        answer: "a bucket that is not there, keys that do not fit",
        about: About::Stops,
        then: "says the place and the way out",
        proofs: &[
            "a_bucket_that_is_not_there_ends_the_start_with_the_way_out",
            "a_refusal_names_the_place_and_no_key_and_may_pass",
        ],
    },
];
