//! Files that are named without a pattern and are not there when a start looks for the first time.
//!
//! One that nobody read yet is a mistake in the settings. One that was read before keeps nobody
//! from finishing what was decided of it: it is told, and its split is gone.

use std::path::{Path, PathBuf};

use contract::{Error, Result};

use crate::config::Included;
use crate::found::unreadable;
use crate::graves::Graves;
use crate::identity::are_related;
use crate::matching::Candidate;

/// A word about each of them that was read before, under this name or one that rotation gave it.
///
/// # Errors
/// Config: one was never read. External: its folder may not be searched.
pub fn told(included: &[Included], known: &[Candidate], retired: &Graves) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for one in included {
        let Included::File { path, place, field } = one else { continue };
        if path.try_exists().map_err(|error| unreadable(path, &error).at(place))? {
            continue;
        }
        let named = without_links_to(path);
        let is_known = known.iter().any(|known| are_related(&known.descriptor.path, &named));
        if !is_known && !retired.has_of(&named) {
            return Err(Error::config(format!("file {path:?} does not exist"))
                .at(place)
                .field(field)
                .hint(
                    "create it, correct the path, or use a pattern, which may match nothing yet",
                ));
        }
        warnings.push(format!("file {path:?} is not there any more, or was renamed"));
    }
    Ok(warnings)
}

/// The path of a file that is not there, with no link on the way to it.
fn without_links_to(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}
