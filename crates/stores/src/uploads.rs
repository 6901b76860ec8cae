//! Uploads on local disk: hidden files that survive a power loss, and a rename that shows them.
//!
//! They lie in one folder below the root under names that listings leave out, whoever began them;
//! those that nobody completed are removed after a week.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use contract::error::Context;
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, MultipartId, PutPayload, PutResult, Result};

use super::durable::{STORE, blocking, make_folders, sync_folder};
use super::staging::STAGING;

/// Nobody completes an upload after so long: what it was decided for is read again.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Uploads into a local folder.
#[derive(Debug)]
pub struct LocalUploads {
    names: LocalFileSystem,
    folder: PathBuf,
    part_bytes: usize,
}

impl LocalUploads {
    /// Opens a folder that exists, and removes uploads that were given up. All parts of an upload
    /// but the last one have `part_bytes`.
    ///
    /// # Errors
    /// External: the folder cannot be read.
    pub fn open(root: &FilePath, part_bytes: usize) -> contract::Result<Self> {
        let names = LocalFileSystem::new_with_prefix(root)
            .external(|| format!("could not open folder {root:?}"))?;
        let folder = root.join(STAGING);
        remove_old(&folder).external(|| format!("could not look through folder {folder:?}"))?;
        Ok(Self { names, folder, part_bytes })
    }

    fn hidden(&self, id: &str) -> Result<PathBuf> {
        let is_ours = id.strip_prefix("upload#").is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        match is_ours {
            true => Ok(self.folder.join(id)),
            false => Err(Error::Generic { store: STORE, source: "no upload of ours".into() }),
        }
    }
}

#[async_trait]
impl MultipartStore for LocalUploads {
    async fn create_multipart(&self, _path: &Path) -> Result<MultipartId> {
        // `LocalFileSystem` leaves names out of its lists that end in `#` and digits.
        let id = format!("upload#{}", rand::random::<u128>());
        let (hidden, folder) = (self.hidden(&id)?, self.folder.clone());
        blocking(&self.folder, move || {
            make_folders(&folder)?;
            File::create_new(&hidden)?;
            // Nobody learns of an upload that fails here, and so nobody drops it.
            sync_folder(&folder).inspect_err(|_| drop(fs::remove_file(&hidden)))
        })
        .await?;
        Ok(id)
    }

    async fn put_part(
        &self,
        _path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let hidden = self.hidden(id)?;
        let bytes = data.content_length();
        let place = (part_idx * self.part_bytes) as u64;
        blocking(&self.folder, move || {
            let file = OpenOptions::new().write(true).open(hidden)?;
            let mut place = place;
            for piece in &data {
                file.write_all_at(piece, place)?;
                place += piece.len() as u64;
            }
            file.sync_all()
        })
        .await?;
        Ok(PartId { content_id: bytes.to_string() })
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let hidden = self.hidden(id)?;
        let target = self.names.path_to_filesystem(path)?;
        let bytes: u64 = parts.iter().filter_map(|part| part.content_id.parse::<u64>().ok()).sum();
        blocking(&self.folder, move || {
            if fs::metadata(&hidden)?.len() != bytes {
                return Err(io::Error::new(io::ErrorKind::NotFound, "parts are missing"));
            }
            let folder = target.parent().unwrap_or(FilePath::new("/"));
            make_folders(folder)?;
            fs::rename(&hidden, &target)?;
            sync_folder(folder)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort_multipart(&self, _path: &Path, id: &MultipartId) -> Result<()> {
        let hidden = self.hidden(id)?;
        blocking(&self.folder, move || fs::remove_file(hidden)).await
    }
}

fn remove_old(folder: &FilePath) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let now = SystemTime::now();
    for entry in entries {
        let entry = entry?;
        let written = entry.metadata().and_then(|known| known.modified());
        // Another process may complete it in this moment: then it is gone.
        let age = written.ok().and_then(|written| now.duration_since(written).ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::DurableLocal;

    const PART_BYTES: usize = 1 << 10;

    #[tokio::test]
    async fn an_upload_is_unseen_until_anybody_completes_it_and_then_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = DurableLocal::open(folder.path()).expect("a store");
        let first = LocalUploads::open(store.root(), PART_BYTES).expect("uploads");
        let path = Path::from("a/b/big");
        let id = first.create_multipart(&path).await.expect("begun");
        let (whole, rest) = (vec![1_u8; PART_BYTES], vec![2_u8; 10]);
        let mut parts = Vec::new();
        for (number, bytes) in [whole.clone(), rest.clone()].into_iter().enumerate() {
            parts.push(first.put_part(&path, &id, number, bytes.into()).await.expect("a part"));
        }
        let listed: Vec<_> = store.list(None).try_collect().await.expect("listed");
        assert!(listed.is_empty(), "{listed:?}");

        let second = LocalUploads::open(store.root(), PART_BYTES).expect("uploads");
        second.complete_multipart(&path, &id, parts.clone()).await.expect("completed");
        let bytes = store.get(&path).await.expect("there").bytes().await.expect("read");
        assert_eq!(bytes.len(), PART_BYTES + 10);
        assert_eq!((bytes[PART_BYTES - 1], bytes[PART_BYTES]), (1, 2));
        let again = second.complete_multipart(&path, &id, parts).await;
        assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
    }

    #[test]
    fn uploads_that_were_given_up_are_removed_after_a_week() {
        let folder = tempfile::tempdir().expect("a folder");
        let hidden = folder.path().join(STAGING);
        fs::create_dir(&hidden).expect("a folder");
        for (name, age) in [("upload#1", KEPT * 2), ("upload#2", KEPT / 2)] {
            let file = File::create(hidden.join(name)).expect("a file");
            file.set_modified(SystemTime::now() - age).expect("a time");
        }
        LocalUploads::open(folder.path(), PART_BYTES).expect("uploads");
        let left: Vec<_> = fs::read_dir(&hidden).expect("listed").collect();
        assert_eq!(left.len(), 1);
        assert!(hidden.join("upload#2").exists());
    }
}
