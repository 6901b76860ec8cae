//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "the bucket or folder is missing at the start",
        then: "exit code 2 (a folder: 1), or it is made with `create_bucket`",
        proofs: &[
            "a_missing_bucket_of_s3_ends_the_start",
            "a_missing_container_of_azure_ends_the_start",
        ],
    },
    Change {
        when: "it is removed while we run",
        then: "what is being written is tried again until it is back; made anew with \
               `create_bucket`, it holds what is published from then on, and `audit` \
               names what is missing",
        proofs: &["a_bucket_that_is_removed_while_we_run_is_waited_for"],
    },
    Change {
        when: "it is removed and made anew, running or stopped",
        then: "buckets have no ids, so the day of creation stands for one: S3 tells \
               whoever may list buckets (`s3:ListAllMyBuckets`), GCS whoever may see \
               the bucket (`storage.buckets.get`). Another one is told, in the log, the \
               summary and by `audit`, with the epochs whose rows went into the old \
               bucket. Azure tells no such date, a folder has none: there `audit` alone \
               names what is missing",
        proofs: &["a_bucket_made_anew_is_told"],
    },
    Change {
        when: "objects are removed, changed or moved",
        then: "nothing is written again; `audit` names the rows, by their origin",
        proofs: &["objects_that_are_removed_are_missing_and_not_written_again"],
    },
    Change {
        when: "an upload is removed before its epoch is published",
        then: "its rows are read and sent again",
        proofs: &[
            "a_lost_upload_in_a_folder_is_replayed",
            "a_lost_upload_in_s3_is_replayed",
            "a_lost_upload_in_azure_is_replayed",
            "a_lost_upload_in_gcs_is_replayed",
        ],
    },
    Change {
        when: "a lifecycle rule moves objects to a class that cannot be read at once",
        then: "`audit` cannot read them and says so",
        proofs: &["a_sink_that_cannot_be_read_does_not_keep_the_others_from_being_audited"],
    },
    Change {
        when: "the prefix is used by others too",
        then: "their objects are left alone, as long as their names are not ours",
        proofs: &["sinks_under_one_prefix_do_not_see_each_other"],
    },
];
