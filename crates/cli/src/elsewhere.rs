//! Remembers the pipelines that keep checkpoints or lake tables outside of the data folder, so that
//! queries find these too.
//!
//! Only the place of the pipeline file is noted; credentials stay where that file has them from.
//! Nothing is opened before somebody asks for it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use connector_lake::Lake;
use contract::Result;
use contract::error::Context;
use plan::Plan;
use query::{Elsewhere, Ledger, PlacedTable};
use tracing::warn;

use crate::pipeline::{self, Named};

/// The folder of the notes, one for each pipeline.
const FOLDER: &str = "pipelines";

/// Notes where the file of a pipeline lies, if it keeps anything elsewhere.
///
/// # Errors
/// External: the data folder cannot be written.
pub fn note(plan: &Plan, file: &Path, data: &Path) -> Result<()> {
    if !is_kept(plan, data)? {
        return Ok(());
    }
    let folder = data.join(FOLDER);
    let failed = || format!("could not note a pipeline in {:?}", folder.display());
    let file = file.canonicalize().external(failed)?;
    fs::create_dir_all(&folder).external(failed)?;
    fs::write(folder.join(&plan.name), file.as_os_str().as_encoded_bytes()).external(failed)
}

/// Whether a pipeline keeps anything outside of the data folder.
///
/// # Errors
/// Config: a lake's settings are wrong.
pub fn is_kept(plan: &Plan, data: &Path) -> Result<bool> {
    Ok(plan.settings.checkpoint.url.is_some() || !tables(plan, data)?.is_empty())
}

/// What the pipelines that were noted keep elsewhere. One whose file does not load any more is left
/// out with a warning.
pub fn of(data: &Path) -> Elsewhere {
    let notes = fs::read_dir(data.join(FOLDER)).into_iter().flatten().flatten();
    let mut notes: Vec<_> = notes.map(|note| note.path()).collect();
    notes.sort_unstable();
    let mut elsewhere = Elsewhere::default();
    for note in notes {
        if let Err(error) = add(&note, data, &mut elsewhere) {
            let pipeline = note.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let error = error.chain();
            warn!(pipeline, error, "what a pipeline keeps elsewhere is missing in queries");
        }
    }
    elsewhere
}

fn add(note: &Path, data: &Path, elsewhere: &mut Elsewhere) -> Result<()> {
    let file = fs::read_to_string(note).external(|| "could not read a note".to_owned())?;
    let name = note.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let plan = Named { file: PathBuf::from(file), name }.read(data)?;
    elsewhere.tables.extend(tables(&plan, data)?);
    if plan.settings.checkpoint.url.is_some() {
        let checkpoints = pipeline::bind(&plan, data)?.checkpoint_store()?;
        elsewhere.ledgers.push(Ledger { pipeline: plan.name, checkpoints });
    }
    Ok(())
}

/// The lake tables to which a pipeline gives a place of their own.
fn tables(plan: &Plan, data: &Path) -> Result<Vec<PlacedTable>> {
    let placed = plan.sinks.iter().filter(|sink| {
        let url = sink.section.get("url").and_then(|url| url.as_text());
        sink.kind == "lake" && url.is_some()
    });
    let placed = placed.map(|sink| {
        let (name, location) = Lake::table(&sink.section, data)?;
        Ok(PlacedTable { name, pipeline: plan.name.clone(), location })
    });
    placed.collect()
}
