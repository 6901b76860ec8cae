//! Another version of the pipeline over an epoch that is not finished.

use std::path::Path;
use std::sync::PoisonError;

use testkit::stream::upgrade_amid;

use crate::ONE_AT_A_TIME;

#[test]
fn an_epoch_ends_as_it_was_decided_and_the_next_is_the_new_versions() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Path::new(env!("CARGO_BIN_EXE_logmill"));
    // Neither sink has the epoch; one of them has.
    for point in ["decide.after:1", "commit.sink.after:1"] {
        let folder = tempfile::tempdir().unwrap();
        if upgrade_amid(program, folder.path(), point).is_none() {
            return;
        }
    }
}
