//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "the topic is deleted and made anew while we run",
        then: "its id is another one: the run stops before the next epoch is decided. \
               The next start finds no token where there was one, and says the ways to \
               go on. Where it is deleted before its rows were decided, they are not, \
               whichever topic took them",
        proofs: &[
            "a_topic_that_was_made_anew_takes_no_epoch_without_a_word",
            "rows_of_a_topic_that_is_made_anew_and_deleted_are_not_decided",
        ],
    },
    Change {
        when: "the same while we do not run",
        then: "no token where there was one: exit code 2 and the ways to go on. Where \
               the token lies in another topic (`token_topic`), or there is none \
               (`transactional: false`), the run goes on; the other id is told, in the \
               log, the summary and by `audit`, with the epochs whose records went into \
               the old topic. Brokers before 2.8 give no ids",
        proofs: &["a_topic_made_anew_is_told_where_no_token_tells_it"],
    },
    Change {
        when: "the topic is deleted",
        then: "told within 10 s and waited for, or made anew with `create_topics`, which \
               is told too",
        proofs: &["a_topic_that_is_away_is_told_soon_and_waited_for"],
    },
    Change {
        when: "it gets more partitions",
        then: "rows go there with the next start; until then one that names such a \
               partition is a dead letter",
        proofs: &["partitions_that_are_added_are_met_by_the_next_start"],
    },
    Change {
        when: "retention, compaction or a person removes records",
        then: "nothing is written again; `audit` names the rows",
        proofs: &["a_topic_that_is_emptied_gets_nothing_again"],
    },
    Change {
        when: "`max.message.bytes` or `cleanup.policy` changes",
        then: "what a row is to blame for is a dead letter; else the run stops and says \
               what to change",
        proofs: &[
            "a_topic_that_becomes_compacted_refuses_the_rows_without_a_key_and_no_more",
            "a_topic_whose_limit_falls_refuses_the_rows_above_it_and_no_more",
        ],
    },
];
