//! What the sink makes of what its destination answers to rows. The page on reliability has the
//! answers of all sinks in one table.

use contract::spec::{About, Answer};

/// In the order of the page.
pub const ANSWERS: &[Answer] = &[
    Answer {
        answer: "`MSG_SIZE_TOO_LARGE`, a record above the topic's `max.message.bytes`",
        about: About::Row,
        then: "its limit is asked for again; the same limit as before stops the run",
        proofs: &[
            "a_record_that_is_too_large_is_refused_and_the_others_arrive",
            "a_topic_whose_limit_falls_refuses_the_rows_above_it_and_no_more",
        ],
    },
    Answer {
        answer: "`INVALID_RECORD`, no key for a compacted topic",
        about: About::Row,
        then: "the topic's settings are asked for again; the same ones as before stop the \
               run",
        proofs: &[
            "a_compacted_topic_takes_no_row_without_a_key",
            "a_topic_that_becomes_compacted_refuses_the_rows_without_a_key_and_no_more",
        ],
    },
    Answer {
        answer: "an illegal or missing topic that a column names, a partition that is not \
               there",
        about: About::Row,
        then: "the reason says which",
        proofs: &[
            "a_topic_that_is_missing_stops_the_start_or_refuses_the_row",
            "partitions_that_are_added_are_met_by_the_next_start",
        ],
    },
    Answer {
        answer: "`UNKNOWN_TOPIC_OR_PARTITION`: the topic was deleted",
        about: About::Waits,
        then: "told within 10 s; the epoch is sent again",
        proofs: &["a_topic_that_is_away_is_told_soon_and_waited_for"],
    },
    Answer {
        answer: "no leader, too few replicas, time-outs, no answer",
        about: About::Waits,
        then: "the epoch is sent again, as long as `retry.for` says",
        proofs: &[
            "what_a_refusal_is_about_follows_from_its_code",
            "networks_that_are_cut_again_and_again_lose_and_double_nothing",
        ],
    },
    Answer {
        answer: "a producer that was shut out, a transaction that was open too long",
        about: About::Waits,
        then: "the token is read; what is lacking is sent again",
        proofs: &[
            "a_writer_that_was_shut_out_commits_nothing_and_can_begin_anew",
            "a_transaction_that_was_open_too_long_is_replayed",
        ],
    },
    Answer {
        answer: "no authorization, `INVALID_TIMESTAMP`, `INVALID_TOPIC_EXCEPTION`, \
               `POLICY_VIOLATION`, `UNSUPPORTED_FOR_MESSAGE_FORMAT`",
        about: About::Stops,
        then: "says what to change",
        proofs: &["what_a_refusal_is_about_follows_from_its_code"],
    },
    Answer {
        answer: "a wrong password, TLS on a port without it, or none on one with it",
        about: About::Stops,
        then: "says what was tried and what answered",
        proofs: &[
            "passwords_over_tls_are_understood",
            "a_port_that_speaks_tls_or_does_not_is_told_each_time",
        ],
    },
];
