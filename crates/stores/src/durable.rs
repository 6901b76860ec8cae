//! A local object store whose puts are durable before their names appear.
//!
//! `object_store`'s own local store never syncs, and links a name before the bytes behind it are
//! on disk, so a wrapper that syncs afterwards is too late. Here a put writes a hidden file,
//! syncs it, links it (create) or renames it (overwrite), and syncs the folder and every folder
//! it made. Reading and listing are `object_store`'s. What has no name yet lies in a hidden folder
//! below the root, where no reader of the folder looks.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use contract::error::Context;
use contract::failpoint;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};
use tokio::task::spawn_blocking;

use super::staging::Staging;

/// What errors call the stores on local disk.
pub(crate) const STORE: &str = "local disk";

/// A folder as an object store with durable puts.
#[derive(Clone, Debug)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
    staging: Staging,
}

impl DurableLocal {
    /// Opens a folder, making it where it does not exist. What killed processes were writing there
    /// is removed.
    ///
    /// # Errors
    /// External: the folder cannot be made or read.
    pub fn open(folder: &FilePath) -> contract::Result<Self> {
        make_folders(folder).external(|| format!("could not make folder {folder:?}"))?;
        let root =
            folder.canonicalize().external(|| format!("could not open folder {folder:?}"))?;
        let inner = LocalFileSystem::new_with_prefix(&root)
            .external(|| format!("could not open folder {folder:?}"))?;
        let staging =
            Staging::open(&root).external(|| format!("could not look through {folder:?}"))?;
        Ok(Self { inner: Arc::new(inner), root, staging })
    }

    /// The folder, absolute.
    pub fn root(&self) -> &FilePath {
        &self.root
    }
}

impl DurableLocal {
    /// For an update that names the state which it replaces: looks whether that state stands, and
    /// keeps other updates of the folder out until the lock is dropped.
    async fn as_expected(
        &self,
        location: &Path,
        mode: &PutMode,
        path: &FilePath,
    ) -> Result<Option<File>> {
        let PutMode::Update(expected) = mode else { return Ok(None) };
        let folder = path.parent().unwrap_or(FilePath::new("/")).to_owned();
        let lock = blocking(&self.root, move || {
            let folder = File::open(folder)?;
            rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        let lock = lock.await?;
        match self.inner.head(location).await {
            Ok(standing) if standing.e_tag == expected.e_tag => Ok(Some(lock)),
            Ok(_) | Err(Error::NotFound { .. }) => Err(Error::Precondition {
                path: location.to_string(),
                source: "another state stands there".into(),
            }),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DurableLocal({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let path = self.inner.path_to_filesystem(location)?;
        let staging = self.staging.clone();
        let staged = blocking(&self.root, move || {
            let mut staged = Staged::create(&staging, &path)?;
            for bytes in &payload {
                staged.file.write_all(bytes)?;
            }
            Ok(staged)
        })
        .await?;
        reach("store.put.staged").await?;
        let alone = self.as_expected(location, &options.mode, &staged.path).await?;
        blocking(&self.root, move || staged.publish(&options.mode)).await?;
        drop(alone);
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        let staging = self.staging.clone();
        let staged = blocking(&self.root, move || Staged::create(&staging, &path)).await?;
        let (root, staged) = (self.root.clone(), Some(Arc::new(staged)));
        Ok(Box::new(Upload { root, staged, written: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        // Nothing here is decided or published by copying (EPOCH §5), so no durable copy exists.
        Err(Error::NotImplemented { operation: "copy".into(), implementer: self.to_string() })
    }
}

/// A file that is being written under a hidden name.
#[derive(Debug)]
struct Staged {
    file: File,
    hidden: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Staged {
    fn create(staging: &Staging, path: &FilePath) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(FilePath::new("/"));
        let (hidden, file) = staging.create(folder)?;
        Ok(Self { file, hidden, path: path.to_owned(), published: false })
    }

    fn publish(mut self, mode: &PutMode) -> io::Result<()> {
        self.file.sync_all()?;
        match mode {
            PutMode::Create => {
                fs::hard_link(&self.hidden, &self.path)?;
                fs::remove_file(&self.hidden)?;
            }
            _ => fs::rename(&self.hidden, &self.path)?,
        }
        self.published = true;
        sync_folder(self.path.parent().unwrap_or(FilePath::new("/")))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Whatever stopped the put is reported already; a left-over is invisible.
            let _ = fs::remove_file(&self.hidden);
        }
    }
}

/// An upload in parts: each is written at its place in the hidden file.
#[derive(Debug)]
struct Upload {
    root: PathBuf,
    staged: Option<Arc<Staged>>,
    written: u64,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let start = self.written;
        self.written += payload.content_length() as u64;
        let (root, staged) = (self.root.clone(), self.staged.clone());
        Box::pin(async move {
            let staged = staged.ok_or_else(finished)?;
            blocking(&root, move || {
                let mut place = start;
                for bytes in &payload {
                    std::os::unix::fs::FileExt::write_all_at(&staged.file, bytes, place)?;
                    place += bytes.len() as u64;
                }
                begin_to_sync(&staged.file, start..place);
                Ok(())
            })
            .await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(finished)?;
        let staged = Arc::try_unwrap(staged).map_err(|_| Error::Generic {
            store: STORE,
            source: "an upload was completed before its parts were written".into(),
        })?;
        blocking(&self.root, move || staged.publish(&PutMode::Overwrite)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.staged = None;
        Ok(())
    }
}

/// Begins to bring what was written to disk, so that the sync at the end has little left to do.
#[cfg(target_os = "linux")]
fn begin_to_sync(file: &File, written: std::ops::Range<u64>) {
    let length = std::num::NonZeroU64::new(written.end - written.start);
    // "Not needed" has the system write dirty pages; where it cannot, the sync does all.
    let _ = rustix::fs::fadvise(file, written.start, length, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn begin_to_sync(_: &File, _: std::ops::Range<u64>) {}

fn finished() -> Error {
    Error::Generic { store: STORE, source: "the upload is finished".into() }
}

/// Makes a folder and its parents, each durable in its own parent.
///
/// # Errors
/// A folder cannot be made.
pub fn make_folders(folder: &FilePath) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => FilePath::new("."),
    };
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync_folder(parent)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The folder cannot be opened.
pub fn sync_folder(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Passes a failpoint; an answer that gets lost there is an error of the store.
async fn reach(name: &str) -> Result<()> {
    failpoint::reach(name)
        .await
        .map_err(|error| Error::Generic { store: STORE, source: error.into() })
}

/// Runs file work in a folder off the async threads and gives its errors their `object_store`
/// meaning, and the name of the folder: what is full is a disk, whoever writes to it.
pub(crate) async fn blocking<T: Send + 'static>(
    folder: &FilePath,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let outcome = spawn_blocking(work)
        .await
        .map_err(|error| Error::Generic { store: STORE, source: error.into() })?;
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::AlreadyExists { path: String::new(), source: error.into() }
        }
        io::ErrorKind::NotFound => Error::NotFound { path: String::new(), source: error.into() },
        kind => {
            let source = io::Error::new(kind, format!("{error}, in folder {folder:?}"));
            Error::Generic { store: STORE, source: source.into() }
        }
    })
}

#[cfg(test)]
mod tests {
    use object_store::UpdateVersion;

    use super::*;

    fn open(folder: &tempfile::TempDir) -> DurableLocal {
        DurableLocal::open(&folder.path().join("a/b")).expect("a folder")
    }

    #[tokio::test]
    async fn a_second_create_of_one_name_fails_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let path = Path::from("deep/er/name");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "one".into(), create()).await.expect("created");
        let second = store.put_opts(&path, "two".into(), create()).await;
        assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
        let bytes = store.get(&path).await.expect("there").bytes().await.expect("read");
        assert_eq!(&bytes[..], b"one");
        let names: Vec<_> = fs::read_dir(store.root().join("deep/er")).expect("listed").collect();
        assert_eq!(names.len(), 1, "nothing hidden is left behind");
    }

    #[tokio::test]
    async fn of_updates_that_replace_one_state_the_first_alone_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let path = Path::from("deep/name");
        store.put(&path, "one".into()).await.expect("written");
        let state = store.head(&path).await.expect("there");
        let update = |text: &'static str| {
            let expected = UpdateVersion { e_tag: state.e_tag.clone(), version: None };
            let options = PutOptions { mode: PutMode::Update(expected), ..PutOptions::default() };
            store.put_opts(&path, text.into(), options)
        };
        let (first, second) = futures::join!(update("two"), update("six"));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let refused = first.and(second).expect_err("one is refused");
        assert!(matches!(refused, Error::Precondition { .. }), "{refused:?}");
        let bytes = store.get(&path).await.expect("there").bytes().await.expect("read");
        assert_ne!(&bytes[..], b"one");
    }

    #[tokio::test]
    async fn an_error_of_the_disk_names_the_folder_and_keeps_its_kind() {
        let full = || Err::<(), _>(io::Error::from_raw_os_error(28));
        let error = blocking(FilePath::new("/disk/lake"), full).await.expect_err("it is full");
        let text = error.to_string();
        assert!(text.ends_with("(os error 28), in folder \"/disk/lake\""), "{text}");
        let cause = std::error::Error::source(&error);
        let kind = cause.and_then(|it| it.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::StorageFull));
    }

    #[tokio::test]
    async fn an_upload_shows_nothing_before_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let path = Path::from("big");
        let mut upload = store.put_multipart(&path).await.expect("begun");
        upload.put_part("one,".into()).await.expect("a part");
        upload.put_part("two".into()).await.expect("a part");
        assert!(store.head(&path).await.is_err());
        upload.complete().await.expect("completed");
        let bytes = store.get(&path).await.expect("there").bytes().await.expect("read");
        assert_eq!(&bytes[..], b"one,two");
    }
}
