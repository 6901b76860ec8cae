//! Who may write: a lease per lineage, held as long as the process lives.
//!
//! On a local store it is `flock`: the kernel gives it back the moment its holder dies, so the
//! next start takes over at once. The lease keeps two owners apart politely; what keeps them
//! apart for certain is the conditional create of the checkpoint.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use contract::error::Context;
use contract::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};

/// The right to write a lineage. Given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease of a lineage whose checkpoints lie in a local folder.
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

fn taken(file: &mut File, path: &Path) -> Error {
    let mut holder = String::new();
    let holder = match file.read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!("process {}", holder.trim()),
        _ => "another process".to_owned(),
    };
    Error::new(
        ErrorKind::NotOwner,
        format!("{holder} owns this pipeline (lease {:?})", path.display()),
    )
    .hint("stop it, or give this pipeline another `name` or `--data`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Lease::take(folder.path()).expect("free");
        let second = Lease::take(folder.path()).expect_err("held");
        assert_eq!(second.kind(), ErrorKind::NotOwner);
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(first);
        Lease::take(folder.path()).expect("free again");
    }
}
