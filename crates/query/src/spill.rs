//! Folders for what queries spill to disk, each gone with its query, however that ends.
//!
//! A folder is locked by the process that made it. What a killed process left is unlocked, and is
//! removed by whoever makes the next folder; nobody removes what another living process uses.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::Result;
use contract::error::Context;

/// The folder in the data folder that holds all of them.
const SPILL: &str = "spill";
/// How the names of the folders begin.
const QUERY: &str = "logmill-query-";
/// How often a folder is made again that somebody took for a left-over before it was locked.
const TRIES_MAX: u32 = 16;
/// How often a folder is emptied into which a process that is being killed still writes.
const REMOVALS_MAX: u32 = 20;
/// The pause between two of them.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// The folders of this process, for an end that drops nothing.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder for one query.
#[derive(Debug)]
pub struct SpillFolder {
    path: PathBuf,
    /// Held open for its lock.
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder below the data folder; where there is none, or it cannot be written, among
    /// the system's temporary files. Removes those of killed processes there.
    ///
    /// # Errors
    /// External: it cannot be made.
    pub fn make(data: &Path) -> Result<Self> {
        if data.is_dir()
            && let Ok(folder) = Self::make_in(&data.join(SPILL))
        {
            return Ok(folder);
        }
        let parent = std::env::temp_dir();
        let failed = || format!("could not make a folder for temporary files in {parent:?}");
        Self::make_in(&parent).external(failed)
    }

    fn make_in(parent: &Path) -> io::Result<Self> {
        clear(parent);
        fs::create_dir_all(parent)?;
        for _ in 0..TRIES_MAX {
            let path = parent.join(format!("{QUERY}{:016x}", rand::random::<u64>()));
            fs::create_dir(&path)?;
            let lock = File::open(&path)?;
            // Where the file system has no locks, nobody takes the folder for a left-over.
            let _ = lock.lock();
            if lock.metadata()?.nlink() > 0 && path.is_dir() {
                let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
                open.push(path.clone());
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::Error::other("no folder stays"))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        remove(&self.path);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|path| *path != self.path);
    }
}

/// Removes the folders of all queries of this process, which ends now.
pub fn remove_all() {
    let open = std::mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner));
    open.iter().for_each(|path| remove(path));
}

/// Removes what killed processes left in a data folder.
pub fn clear_left(data: &Path) {
    clear(&data.join(SPILL));
}

fn clear(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(QUERY) {
            continue;
        }
        // Its owner may remove it in this moment: then it is gone.
        let Ok(folder) = File::open(entry.path()) else { continue };
        match folder.try_lock() {
            Ok(()) => remove(&entry.path()),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

fn remove(path: &Path) {
    for _ in 0..REMOVALS_MAX {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(REMOVAL_PAUSE);
            }
            // What belongs to somebody else stays.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(data: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(data.join(SPILL)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_folder_goes_with_its_query_and_a_left_one_with_the_next() {
        let data = tempfile::tempdir().unwrap();
        let first = SpillFolder::make(data.path()).unwrap();
        fs::write(first.path().join("sorted"), "rows").unwrap();
        // What a killed process leaves has no lock.
        let left = data.path().join(SPILL).join(format!("{QUERY}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("sorted"), "rows").unwrap();
        let others = data.path().join(SPILL).join("upload");
        fs::write(&others, "bytes").unwrap();
        let second = SpillFolder::make(data.path()).unwrap();
        assert!(!left.exists(), "nobody uses it");
        assert!(first.path().join("sorted").exists(), "its query runs");
        drop(first);
        assert_eq!(names(data.path()).len(), 2);
        drop(second);
        assert_eq!(names(data.path()), [others]);
    }

    #[test]
    fn a_data_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("none");
        let spill = SpillFolder::make(&data).unwrap();
        assert!(spill.path().is_dir() && !data.exists());
    }
}
