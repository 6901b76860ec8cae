//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "another writer appends rows",
        then: "they are left alone; `audit` counts those without an origin as somebody \
               else's",
        proofs: &[
            "rows_of_another_writer_are_left_alone",
            "rows_without_an_origin_are_somebody_elses",
        ],
    },
    Change {
        when: "another writer adds a column",
        then: "null in our rows from then on",
        proofs: &["a_new_column_joins_the_table_and_is_null_in_older_rows"],
    },
    Change {
        when: "another writer changes a column's type, the partitions, or adds a constraint",
        then: "the table is looked at before each epoch is decided: exit code 2, and nothing is \
               decided. What was decided just before is not published until the table is \
               restored to what it was",
        proofs: &[
            "a_type_that_changes_is_refused_before_the_decision",
            "a_type_that_changes_after_the_decision_publishes_nothing",
            "files_for_other_partitions_than_the_table_has_are_not_published",
            "rules_that_nobody_checks_here_are_refused",
        ],
    },
    Change {
        when: "a column becomes `NOT NULL`",
        then: "goes on as long as every row has a value there; else as above",
        proofs: &["a_column_that_must_not_be_null_takes_values_and_no_nulls"],
    },
    Change {
        when: "another writer drops a column that we write",
        then: "exit code 2 before the next epoch is decided; what was decided just before is \
               published without the column. The next start adds it anew, unless the pipeline \
               leaves it out",
        proofs: &["a_column_that_is_dropped_comes_back_by_a_new_start_alone"],
    },
    Change {
        when: "another writer deletes rows, or empties the table",
        then: "goes on; nothing is written again, and `audit` names what is missing",
        proofs: &["a_table_that_is_emptied_takes_what_comes_and_nothing_again"],
    },
    Change {
        when: "the table is dropped while we run",
        then: "nothing is committed into the empty folder; the next attempt finds no \
               token where there was one, and says the ways to go on. A table that held \
               nothing of ours is made anew, which is told",
        proofs: &[
            "a_table_that_is_dropped_is_found_out_before_the_decision",
            "a_lake_table_that_is_dropped_under_a_running_pipeline_is_not_made_anew_without_a_word",
        ],
    },
    Change {
        when: "the table is dropped while we do not run",
        then: "no token where there was one: exit code 2 and the ways to go on. What is \
               made anew then has another id, which is told, in the log, the summary \
               and by `audit`",
        proofs: &["a_lake_table_made_anew_on_the_operators_word_is_told"],
    },
    Change {
        when: "it is restored to an earlier version (`RESTORE`)",
        then: "goes on: that is a new version, which keeps our tokens; the rows that went \
               with it are missing, which `audit` says",
        proofs: &["a_table_that_is_restored_keeps_its_token_and_goes_on"],
    },
    Change {
        when: "the files of its log are put back from a copy",
        then: "an earlier token: exit code 2 and the ways to go on",
        proofs: &["a_log_that_is_put_back_from_a_copy_has_the_token_of_then"],
    },
    Change {
        when: "files are removed without the log",
        then: "`audit` names their rows",
        proofs: &["files_that_are_removed_without_the_log_are_missing"],
    },
    Change {
        when: "rows are deleted in place (deletion vectors)",
        then: "`audit` asks for the files to be rewritten first",
        proofs: &["rows_that_are_deleted_in_place_are_told"],
    },
    Change {
        when: "the store or the disk fails once",
        then: "tried again",
        proofs: &[
            "a_disk_that_fails_while_a_log_is_read_is_read_again",
            "a_run_goes_on_after_a_read_of_a_table_that_failed_once",
        ],
    },
    Change {
        when: "it fails for good",
        then: "tried again as long as `retry.for` says; then the run ends with exit code 1 and \
               names sink and file. `audit` names them, and audits the others",
        proofs: &[
            "a_run_names_the_table_that_cannot_be_read_and_goes_on_once_it_can",
            "an_audit_reads_a_table_again_that_failed_once_and_names_one_that_fails",
        ],
    },
    Change {
        when: "a file or a link stands in the place of the folder of the table or of its log",
        then: "exit code 1 with its name, at once; `audit` names it, and audits the others",
        proofs: &["what_is_no_folder_is_named_and_never_tried_again"],
    },
    Change {
        when: "a folder stands in the place of an entry of its log",
        then: "exit code 1 with its name, for `query` and `audit` too; nothing is taken for an \
               older table",
        proofs: &["a_folder_in_the_place_of_an_entry_of_a_log_is_no_older_table"],
    },
];
