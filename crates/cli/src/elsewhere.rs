//! Remembers the pipelines whose checkpoints lie outside of the data folder, so that the table
//! `ledger` has their rows too.
//!
//! Only the place of the pipeline file is noted; credentials stay where that file has them from.

use std::fs;
use std::path::{Path, PathBuf};

use contract::Result;
use contract::error::Context;
use query::Ledger;
use runtime::Pipeline;
use tracing::warn;

use crate::pipeline;

/// The folder of the notes, one for each pipeline.
const FOLDER: &str = "pipelines";

/// Notes where the file of a pipeline lies, if its checkpoints lie elsewhere.
///
/// # Errors
/// External: the data folder cannot be written.
pub fn note(pipeline: &Pipeline, file: &Path) -> Result<()> {
    if pipeline.settings.checkpoint.url.is_none() {
        return Ok(());
    }
    let folder = pipeline.data.join(FOLDER);
    let failed = || format!("could not note a pipeline in {:?}", folder.display());
    let file = file.canonicalize().external(failed)?;
    fs::create_dir_all(&folder).external(failed)?;
    fs::write(folder.join(&pipeline.name), file.as_os_str().as_encoded_bytes()).external(failed)
}

/// The ledgers of all pipelines that were noted. Nothing is asked for before somebody reads them;
/// one whose file does not load any more is left out with a warning.
pub fn ledgers(data: &Path) -> Vec<Ledger> {
    let notes = fs::read_dir(data.join(FOLDER)).into_iter().flatten().flatten();
    let mut ledgers = Vec::new();
    for note in notes {
        match ledger(&note.path(), data) {
            Ok(ledger) => ledgers.push(ledger),
            Err(error) => {
                let (pipeline, error) = (note.file_name(), error.chain());
                warn!(?pipeline, error, "a pipeline is missing in the table `ledger`");
            }
        }
    }
    ledgers
}

fn ledger(note: &Path, data: &Path) -> Result<Ledger> {
    let file = fs::read_to_string(note).external(|| "could not read a note".to_owned())?;
    let pipeline = pipeline::load(&PathBuf::from(file), data)?.pipeline;
    let checkpoints = pipeline.checkpoint_store()?;
    Ok(Ledger { pipeline: pipeline.name, checkpoints })
}
