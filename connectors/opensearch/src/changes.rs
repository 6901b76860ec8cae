//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "its mapping changes, or another index takes the name or the alias",
        then: "the next rows are taken or refused by the new mapping, which changes how \
               a value is indexed and never what `_source` holds",
        proofs: &["an_index_that_is_made_anew_takes_what_its_new_mapping_takes"],
    },
    Change {
        when: "closed, blocked",
        then: "waits, and goes on once it is opened; what is closed cannot be read, which \
               `audit` says",
        proofs: &["a_closed_index_and_a_blocked_one_wait", "an_alias_without_a_write_index_waits"],
    },
    Change {
        when: "deleted",
        then: "the cluster makes it anew, from `template` where there is one, and the \
               epoch under way is sent again; the documents that the old one held are \
               gone. The other `uuid` is told, in the log, the summary and by `audit`, \
               with the epochs whose rows went into the old one, where the login may \
               see settings of indices (`view_index_metadata`)",
        proofs: &[
            "an_index_made_anew_is_told",
            "an_index_that_is_deleted_is_told_and_gets_a_decided_epoch_again",
        ],
    },
    Change {
        when: "emptied, or put back to an earlier state",
        then: "goes on; nothing is written again, and `audit` names what is missing",
        proofs: &["what_is_removed_is_missing_and_never_written_again"],
    },
    Change {
        when: "documents of ours are altered",
        then: "they count as long as they hold all values of their rows; one that does not, and \
               has a higher version than a row that is sent again, makes that row a dead letter",
        proofs: &["under_our_own_names_only_the_very_row_is_counted"],
    },
];
