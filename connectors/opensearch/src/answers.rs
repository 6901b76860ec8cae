//! What the sink makes of what its destination answers to rows. The page on reliability has the
//! answers of all sinks in one table.

use contract::spec::{About, Answer};

/// In the order of the page.
pub const ANSWERS: &[Answer] = &[
    Answer {
        answer: "400 `mapper_parsing_exception`, `strict_dynamic_mapping_exception`, \
               `illegal_argument_exception`; 413",
        about: About::Row,
        then: "the others arrive",
        proofs: &[
            "what_is_about_the_row_is_a_letter",
            "a_row_that_the_mapping_refuses_is_rejected_and_the_others_arrive",
            "a_request_that_is_too_large_is_divided_down_to_one_document",
        ],
    },
    Answer {
        answer: "200 with `result: noop`: an ingest pipeline dropped it",
        about: About::Row,
        then: "never counted as delivered",
        proofs: &[
            "success_counts_only_where_a_document_was_written",
            "a_row_that_an_ingest_pipeline_drops_is_a_letter_and_the_others_arrive",
        ],
    },
    Answer {
        answer: "409, and another document stands under its `_id`",
        about: About::Row,
        then: "delivered only where the document proves to be this row, or where the row stood \
               there before its epoch was decided, under an `id` of one's own, and a later one \
               took its place",
        proofs: &[
            "under_our_own_names_only_the_very_row_is_counted",
            "a_document_of_somebody_else_is_told_and_not_counted",
            "what_gives_way_to_another_history_is_told_however_near_their_clocks_are",
            "a_conflict_counts_only_where_the_document_may_stand_there",
            "a_conflict_under_our_own_name_counts_only_where_the_row_stands_there",
        ],
    },
    Answer {
        answer: "400 `index_closed_exception`; 403, 429 `cluster_block_exception`",
        about: About::Waits,
        then: "until it is opened, or the block is taken away",
        proofs: &["a_closed_index_and_a_blocked_one_wait"],
    },
    Answer {
        answer: "404 `index_not_found_exception`, 403 `index_create_block_exception`, 400 \
               `validation_exception`",
        about: About::Waits,
        then: "until the index can be made",
        proofs: &["what_is_about_the_destination_waits"],
    },
    Answer {
        answer: "an alias without a write index, a data stream, an ingest pipeline that is \
               not there",
        about: About::Waits,
        then: "until the name is one that takes rows",
        proofs: &[
            "an_alias_without_a_write_index_waits",
            "an_illegal_argument_may_be_the_destinations",
        ],
    },
    Answer {
        answer: "408, 429, 500 and above, no answer, an answer that does not name each row",
        about: About::Waits,
        then: "sent again",
        proofs: &[
            "what_a_busy_cluster_does_not_take_is_sent_again_and_nothing_else",
            "a_cluster_that_stays_busy_makes_the_runtime_back_off",
            "rows_that_no_item_answers_are_sent_again",
            "a_bulk_whose_answer_is_lost_is_sent_again",
        ],
    },
    Answer {
        answer: "401, 403 `security_exception`",
        about: About::Stops,
        then: "rejects nothing",
        proofs: &["a_refused_login_stops_and_rejects_nothing"],
    },
];
