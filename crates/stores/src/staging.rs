//! Where files lie that have no name yet: a hidden folder, never beside what readers look at.
//!
//! A put that is under way holds a lock on its file, so that whoever opens the store later can tell
//! what a killed process left from what another one is writing, and removes it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::durable::make_folders;

/// The folder, below the root of a store. No name of an object begins with a dot.
pub const STAGING: &str = ".logmill";
/// How the names in it begin. They end in `#` and digits; `LocalFileSystem` leaves such out of
/// lists.
const PUT: &str = "put#";
/// How often a file is made again that somebody took for a left-over before it was locked.
const TRIES_MAX: u32 = 16;
/// Where the file system has no locks, a file is left over once it was not written for so long.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The hidden folder of a store.
#[derive(Clone, Debug)]
pub struct Staging {
    root: PathBuf,
    device: u64,
}

impl Staging {
    /// The staging of a folder that exists, without what killed processes left in it.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn open(root: &Path) -> io::Result<Self> {
        let staging = Self { root: root.to_owned(), device: fs::metadata(root)?.dev() };
        remove_left(&root.join(STAGING));
        Ok(staging)
    }

    /// A new file that can be renamed to a name in `folder`, which is made.
    ///
    /// # Errors
    /// A folder or the file cannot be made.
    pub fn create(&self, folder: &Path) -> io::Result<(PathBuf, File)> {
        make_folders(folder)?;
        // A folder below the root may be another disk, and nothing is renamed from disk to disk.
        // The root of the whole system is nobody's.
        let is_near = self.root.parent().is_some() && fs::metadata(folder)?.dev() == self.device;
        let near = if is_near { &self.root } else { folder };
        let hidden = near.join(STAGING);
        for _ in 0..TRIES_MAX {
            let path = hidden.join(format!("{PUT}{}", rand::random::<u64>()));
            let file = match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_folders(&hidden)?;
                    continue;
                }
                made => made?,
            };
            // Without locks, age alone tells left-overs.
            let _ = file.lock();
            if file.metadata()?.nlink() > 0 {
                return Ok((path, file));
            }
        }
        Err(io::Error::other(format!("no file stays in \"{}\"", hidden.display())))
    }
}

/// Removes the files whose writers are gone. What cannot be looked at is left to those who need it.
fn remove_left(hidden: &Path) {
    let Ok(entries) = fs::read_dir(hidden) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PUT) {
            continue;
        }
        // Another process may give it its name in this moment: then it is gone.
        let Ok(file) = File::open(entry.path()) else { continue };
        let is_left = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => is_idle(&file),
        };
        if is_left {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_idle(file: &File) -> bool {
    let written = file.metadata().and_then(|known| known.modified()).ok();
    let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
    age.is_some_and(|age| age > IDLE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_overs_go_and_what_is_being_written_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let staging = Staging::open(root.path()).expect("opened");
        let (writing, file) = staging.create(&root.path().join("a/b")).expect("made");
        let (left, dropped) = staging.create(&root.path().join("a/b")).expect("made");
        // A process that is killed gives its locks back, and no more.
        drop(dropped);
        let upload = root.path().join(STAGING).join("upload#1");
        fs::write(&upload, "decided").expect("written");
        Staging::open(root.path()).expect("opened again");
        assert!(writing.exists(), "another process is writing it");
        assert!(!left.exists(), "nobody will ever name it");
        assert!(upload.exists(), "an upload may be decided");
        drop(file);
    }
}
