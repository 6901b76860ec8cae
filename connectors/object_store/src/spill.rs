//! A file for bytes that wait for their upload while memory is short.
//!
//! It has no name and is gone with the process: nothing in it is staged yet. What is in an object
//! never depends on it, so that a replay cuts objects at the same positions.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use contract::Result;
use contract::error::Context;
use tokio::task::spawn_blocking;

/// The file of a writer.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    end: u64,
    /// Bytes that somebody still wants back.
    wanted: u64,
}

/// A stretch of the file.
#[derive(Debug)]
pub struct Chunk {
    from: u64,
    bytes: usize,
}

impl Spill {
    /// A file in a folder, made once it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, state: Mutex::default() }
    }

    /// Writes bytes away.
    ///
    /// # Errors
    /// Retryable External: the disk does not take them.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<Chunk> {
        let reserved = self.reserve(bytes.len());
        let (file, chunk) = reserved.transient(|| self.failed("write to"))?;
        let from = chunk.from;
        let written = spawn_blocking(move || file.write_all_at(&bytes, from)).await;
        written.bug("a thread that writes failed")?.transient(|| self.failed("write to"))?;
        Ok(chunk)
    }

    /// Reads bytes back, once.
    ///
    /// # Errors
    /// Retryable External: the disk does not give them.
    pub async fn read(&self, chunk: Chunk) -> Result<Vec<u8>> {
        let file = self.locked().file.clone();
        let file = file.ok_or_else(|| contract::Error::bug("nothing was spilled"))?;
        let (from, mut bytes) = (chunk.from, vec![0; chunk.bytes]);
        let read = spawn_blocking(move || file.read_exact_at(&mut bytes, from).map(|()| bytes));
        let bytes = read.await.bug("a thread that reads failed")?;
        let bytes = bytes.transient(|| self.failed("read"))?;
        self.forget([chunk]);
        Ok(bytes)
    }

    /// Gives up bytes that nobody wants back. The file shrinks once nothing in it is wanted.
    pub fn forget(&self, chunks: impl IntoIterator<Item = Chunk>) {
        let bytes: usize = chunks.into_iter().map(|chunk| chunk.bytes).sum();
        let mut state = self.locked();
        state.wanted -= bytes as u64;
        if state.wanted == 0 && state.end > 0 {
            // Another file is begun, so that a write under way cannot fall into this one.
            *state = State::default();
        }
    }

    fn reserve(&self, bytes: usize) -> io::Result<(Arc<File>, Chunk)> {
        let mut state = self.locked();
        let file = match &state.file {
            Some(file) => file.clone(),
            None => {
                std::fs::create_dir_all(&self.folder)?;
                let file = Arc::new(tempfile::tempfile_in(&self.folder)?);
                state.file = Some(file.clone());
                file
            }
        };
        let chunk = Chunk { from: state.end, bytes };
        state.end += bytes as u64;
        state.wanted += bytes as u64;
        Ok((file, chunk))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &str) -> String {
        format!("could not {what} a temporary file in \"{}\"", self.folder.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_come_back_and_the_file_goes_when_none_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let spill = Spill::new(folder.path().join("made"));
        let one = spill.write(b"one".to_vec()).await.expect("written");
        let two = spill.write(b"second".to_vec()).await.expect("written");
        assert_eq!(spill.read(one).await.expect("read"), b"one");
        assert!(spill.locked().file.is_some());
        assert_eq!(spill.read(two).await.expect("read"), b"second");
        assert!(spill.locked().file.is_none());
    }
}
