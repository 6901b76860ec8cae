//! What the sink makes of what its destination answers to rows. The page on reliability has the
//! answers of all sinks in one table.

use contract::spec::{About, Answer};

/// In the order of the page.
pub const ANSWERS: &[Answer] = &[
    Answer {
        answer: "none: a value that the format has no form for (NaN in JSON)",
        about: About::Row,
        then: "the others arrive",
        proofs: &["hostile_values_arrive_intact_and_below_the_prefix"],
    },
    Answer {
        answer: "the store does not answer, or is busy",
        about: About::Waits,
        then: "the epoch is prepared or published again",
        proofs: &["networks_that_are_cut_again_and_again_lose_and_double_nothing"],
    },
    Answer {
        answer: "the bucket is gone while we run",
        about: About::Waits,
        then: "until it is back",
        proofs: &["a_bucket_that_is_removed_while_we_run_is_waited_for"],
    },
    Answer {
        answer: "the bucket is not there at the start",
        about: About::Stops,
        then: "before anything is decided; `create_bucket` makes it",
        proofs: &[
            "a_missing_bucket_of_s3_ends_the_start",
            "a_missing_container_of_azure_ends_the_start",
        ],
    },
];
