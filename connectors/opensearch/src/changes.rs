//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "its mapping changes, or another index takes the name or the alias",
        then: "the next rows are taken or refused by the new mapping, which changes how \
               a value is indexed and never what `_source` holds",
    },
    Change {
        when: "closed, blocked",
        then: "waits, and goes on once it is opened; what is closed cannot be read, which \
               `audit` says",
    },
    Change {
        when: "deleted",
        then: "the cluster makes it anew, from `template` where there is one, and the \
               epoch under way is sent again; the documents that the old one held are \
               gone. The other `uuid` is told, in the log, the summary and by `audit`, \
               with the epochs whose rows went into the old one, where the login may \
               see settings of indices (`view_index_metadata`)",
    },
    Change { when: "emptied", then: "goes on; `audit` names what is missing" },
    Change {
        when: "restored from a snapshot",
        then: "goes on; rows since then are missing, which `audit` says",
    },
];
