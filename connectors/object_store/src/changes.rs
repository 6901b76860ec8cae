//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "the bucket or folder is missing at the start",
        then: "exit code 2 (a folder: 1), or it is made with `create_bucket`",
    },
    Change {
        when: "it is removed while we run",
        then: "what is being written is tried again until it is back; made anew with \
               `create_bucket`, it holds what is published from then on, and `audit` \
               names what is missing",
    },
    Change {
        when: "it is removed and made anew, running or stopped",
        then: "buckets have no ids, so the day of creation stands for one: S3 tells \
               whoever may list buckets (`s3:ListAllMyBuckets`), GCS whoever may see \
               the bucket (`storage.buckets.get`). Another one is told, in the log, the \
               summary and by `audit`, with the epochs whose rows went into the old \
               bucket. Azure tells no such date, a folder has none: there `audit` alone \
               names what is missing",
    },
    Change {
        when: "objects are removed, changed or moved",
        then: "nothing is written again; `audit` names the rows, by their origin",
    },
    Change {
        when: "an upload is removed before its epoch is published",
        then: "its rows are read and sent again",
    },
    Change {
        when: "a lifecycle rule moves objects to a class that cannot be read at once",
        then: "`audit` cannot read them and says so",
    },
    Change {
        when: "the prefix is used by others too",
        then: "their objects are left alone, as long as their names are not ours",
    },
];
