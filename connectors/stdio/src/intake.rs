//! Carries bytes from a blocking stream to a task that must not block.
//!
//! A thread of its own reads, because a read of a terminal or pipe may never return, and the
//! program must be able to end meanwhile. The task takes whatever has gathered: single lines
//! from a slow writer, large blocks from a fast one.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use formats::compression::{Compression, Limits};
use formats::decoded::Decoded;
use formats::encoding::Growth;
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
    end: Option<io::Result<Option<Foreign>>>,
    is_abandoned: bool,
}

/// What stands behind the last member of a compressed stream.
#[derive(Debug)]
pub struct Foreign {
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Why it is no text.
    pub reason: String,
}

/// What the task gets.
#[derive(Debug)]
pub enum Taken {
    /// Bytes, appended to its block.
    Bytes,
    /// The end, and what stands behind the text.
    End(Option<Foreign>),
}

/// How a stream is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// What it may ask for.
    pub limits: Limits,
    /// How much is kept of what stands behind the text.
    pub foreign_bytes_max: usize,
}

impl Intake {
    /// Starts to read a stream, decompressed.
    pub fn start(stream: Box<dyn Read + Send>, reading: Reading) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::spawn(move || {
            let end = theirs.read_all(stream, reading);
            theirs.lock().end = Some(end);
            theirs.arrived.notify_one();
        });
        Self(shared)
    }

    /// Waits for bytes and appends them to `block`. Cancel safe.
    ///
    /// # Errors
    /// The stream cannot be read or decompressed; everything before that was delivered.
    pub async fn take(&mut self, block: &mut Vec<u8>) -> io::Result<Taken> {
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

    fn read_all(
        &self,
        stream: Box<dyn Read + Send>,
        reading: Reading,
    ) -> io::Result<Option<Foreign>> {
        let (compression, whole) = Compression::detect_log(stream)?;
        let mut decoded =
            Decoded::new(compression, Box::new(whole), reading.limits, Growth::Closed);
        let mut piece = vec![0; READ_BYTES];
        loop {
            let length = match decoded.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Some(reason) = decoded.foreign_reason() {
                let mut bytes = piece[..length].to_vec();
                decoded.take(reading.foreign_bytes_max as u64).read_to_end(&mut bytes)?;
                bytes.truncate(reading.foreign_bytes_max);
                return Ok(Some(Foreign { bytes, reason }));
            }
            let mut gathered = self
                .taken
                .wait_while(self.lock(), |gathered| {
                    gathered.bytes.len() >= WAITING_BYTES_MAX && !gathered.is_abandoned
                })
                .unwrap_or_else(PoisonError::into_inner);
            if gathered.is_abandoned {
                return Ok(None);
            }
            gathered.bytes.extend_from_slice(&piece[..length]);
            drop(gathered);
            self.arrived.notify_one();
        }
    }

    /// What there is now; none if the task must wait.
    fn take(&self, block: &mut Vec<u8>) -> Option<io::Result<Taken>> {
        let mut gathered = self.lock();
        if gathered.bytes.is_empty() {
            return gathered.end.take().map(|end| {
                // Whoever asks again after the end gets the end again.
                gathered.end = Some(Ok(None));
                end.map(Taken::End)
            });
        }
        let bytes = std::mem::take(&mut gathered.bytes);
        drop(gathered);
        self.taken.notify_one();
        match block.is_empty() {
            true => *block = bytes,
            false => block.extend_from_slice(&bytes),
        }
        Some(Ok(Taken::Bytes))
    }
}
