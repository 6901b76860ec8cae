//! A lease as `flock`: the kernel gives it back the moment its holder dies, so the next start
//! takes over at once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use contract::error::Context;
use contract::{Error, Result};
use rustix::fs::{FlockOperation, flock};

/// A locked file. Unlocked when dropped, or when the process dies.
#[derive(Debug)]
pub struct LocalLease {
    _file: File,
}

impl LocalLease {
    /// Locks the file `lease` in a folder, which is made.
    ///
    /// # Errors
    /// NotOwner: another process holds it (exit 4). External: the folder cannot be written.
    pub fn take(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .external(|| format!("could not make folder {:?}", folder.display()))?;
        let path = folder.join("lease");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .external(|| format!("could not open lease {:?}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(taken(&mut file, &path));
        }
        let write = (|| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        })();
        write.external(|| format!("could not write lease {:?}", path.display()))?;
        Ok(Self { _file: file })
    }
}

/// Whether somebody holds the lease in a folder, as the kernel's list of locks says; none where
/// there is no such list. Looks and locks nothing, so that nobody who starts now is in the way.
pub fn is_held(folder: &Path) -> Option<bool> {
    let Ok(lease) = std::fs::metadata(folder.join("lease")) else { return Some(false) };
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let holder = std::fs::read_to_string(folder.join("lease")).unwrap_or_default();
    let device = lease.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let (device, inode) = (format!("{major:02x}:{minor:02x}:"), format!(":{}", lease.ino()));
    let is_it = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        // `1: FLOCK ADVISORY WRITE <process> <major>:<minor>:<inode> 0 EOF`; a waiter has an arrow.
        let [_, "FLOCK", _, _, process, place, ..] = words.as_slice() else { return false };
        // Under some file systems the list has another device than the file.
        place.ends_with(&inode) && (place.starts_with(&device) || *process == holder.trim())
    };
    Some(locks.lines().any(is_it))
}

fn taken(file: &mut File, path: &Path) -> Error {
    let mut holder = String::new();
    let holder = match file.read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!("process {}", holder.trim()),
        _ => "another process".to_owned(),
    };
    super::taken(&holder, &path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use contract::ErrorKind;

    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(is_held(folder.path()), Some(false));
        let first = LocalLease::take(folder.path()).expect("free");
        assert_eq!(is_held(folder.path()), Some(true));
        let second = LocalLease::take(folder.path()).expect_err("held");
        assert_eq!(second.kind(), ErrorKind::NotOwner);
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(first);
        assert_eq!(is_held(folder.path()), Some(false));
        LocalLease::take(folder.path()).expect("free again");
    }
}
