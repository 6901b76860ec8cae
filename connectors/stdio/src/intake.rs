//! Carries bytes from a blocking stream to a task that must not block.
//!
//! A thread of its own reads, because a read of a terminal or pipe may never return, and the
//! program must be able to end meanwhile. The task takes whatever has gathered: single lines
//! from a slow writer, large blocks from a fast one.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use formats::compression::Compression;
use tokio::sync::Notify;

/// The bytes that may wait for the task.
const WAITING_BYTES_MAX: usize = 2 << 20;
/// The bytes that are read at once; pipes hold as many.
const READ_BYTES: usize = 64 << 10;

/// The task's end of the stream.
#[derive(Debug)]
pub struct Intake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    /// The task waits for bytes.
    arrived: Notify,
    /// The thread waits for room.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    end: Option<io::Result<()>>,
    is_abandoned: bool,
}

impl Intake {
    /// Starts to read a stream, decompressed.
    pub fn start(stream: Box<dyn Read + Send>) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::spawn(move || {
            let end = theirs.read_all(stream);
            theirs.lock().end = Some(end);
            theirs.arrived.notify_one();
        });
        Self(shared)
    }

    /// Waits for bytes and appends them to `block`; false at the end of the stream. Cancel safe.
    ///
    /// # Errors
    /// The stream cannot be read or decompressed; everything before that was delivered.
    pub async fn take(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            if let Some(outcome) = self.0.take(block) {
                return outcome;
            }
            self.0.arrived.notified().await;
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.0.lock().is_abandoned = true;
        self.0.taken.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, stream: Box<dyn Read + Send>) -> io::Result<()> {
        let (compression, whole) = Compression::detect(stream)?;
        let mut decoded = compression.decode(whole)?;
        let mut piece = vec![0; READ_BYTES];
        loop {
            let length = match decoded.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut gathered = self
                .taken
                .wait_while(self.lock(), |gathered| {
                    gathered.bytes.len() >= WAITING_BYTES_MAX && !gathered.is_abandoned
                })
                .unwrap_or_else(PoisonError::into_inner);
            if gathered.is_abandoned {
                return Ok(());
            }
            gathered.bytes.extend_from_slice(&piece[..length]);
            drop(gathered);
            self.arrived.notify_one();
        }
    }

    /// What there is now; none if the task must wait.
    fn take(&self, block: &mut Vec<u8>) -> Option<io::Result<bool>> {
        let mut gathered = self.lock();
        if gathered.bytes.is_empty() {
            return gathered.end.take().map(|end| {
                // Whoever asks again after the end gets the end again.
                gathered.end = Some(Ok(()));
                end.map(|()| false)
            });
        }
        let bytes = std::mem::take(&mut gathered.bytes);
        drop(gathered);
        self.taken.notify_one();
        match block.is_empty() {
            true => *block = bytes,
            false => block.extend_from_slice(&bytes),
        }
        Some(Ok(true))
    }
}
