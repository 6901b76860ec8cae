//! Carries bytes from a blocking stream to a task that must not block.
//!
//! A thread of its own reads, because a read of a terminal or pipe may never return, and the
//! program must be able to end meanwhile. The task takes whatever has gathered: single lines
//! from a slow writer, large blocks from a fast one.

use std::fmt;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use formats::compression::Limits;
use formats::decoded::{Decoded, Reached};
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
    /// What stands behind those bytes.
    foreign: Option<Foreign>,
    end: Option<io::Result<()>>,
    is_abandoned: bool,
}

/// What stands between or behind the members of a compressed stream.
#[derive(Debug)]
pub struct Foreign {
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Why it is no text.
    pub reason: String,
    /// Whether the text before it ended too early.
    pub is_torn: bool,
}

/// What the task gets.
#[derive(Debug)]
pub enum Taken {
    /// Bytes, appended to its block.
    Bytes,
    /// What is no text.
    Foreign(Foreign),
    /// The end.
    End,
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
            // Nobody waits for this thread: what it cannot say itself must be said for it.
            let end = catch_unwind(AssertUnwindSafe(|| theirs.read_all(stream, reading)));
            theirs.lock().end = Some(end.unwrap_or_else(|_| Err(panicked())));
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

/// What a reading thread failed with when it did not end as it should.
#[derive(Debug)]
struct Panicked;

impl std::error::Error for Panicked {}

impl fmt::Display for Panicked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the thread that reads it panicked")
    }
}

/// The error of a stream whose reading thread panicked.
pub fn panicked() -> io::Error {
    io::Error::other(Panicked)
}

/// Whether an error is ours: that of a reading thread that panicked.
pub fn is_panic(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Panicked>())
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

    fn read_all(&self, stream: Box<dyn Read + Send>, reading: Reading) -> io::Result<()> {
        let mut decoded = Decoded::log(stream, reading.limits, Growth::Closed)?;
        let mut piece = vec![0; READ_BYTES];
        let mut foreign: Option<Foreign> = None;
        loop {
            let (length, reached) = match decoded.read_some(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            match (reached, &mut foreign) {
                (Reached::Room, Some(foreign)) => {
                    let room = reading.foreign_bytes_max - foreign.bytes.len();
                    foreign.bytes.extend_from_slice(&piece[..length.min(room)]);
                }
                (Reached::Room, None) => {
                    self.put(|it| it.bytes.extend_from_slice(&piece[..length]))
                }
                (_, Some(_)) => self.put(|gathered| gathered.foreign = foreign.take()),
                (_, None) => {
                    let is_torn = reached == Reached::Torn;
                    let begun = |reason| Foreign { bytes: Vec::new(), reason, is_torn };
                    foreign = decoded.foreign_reason().map(begun);
                }
            }
            if reached == Reached::End || self.lock().is_abandoned {
                return Ok(());
            }
        }
    }

    /// Adds to what has gathered, once there is room.
    fn put(&self, add: impl FnOnce(&mut Gathered)) {
        let is_full = |gathered: &mut Gathered| {
            let is_full = gathered.bytes.len() >= WAITING_BYTES_MAX || gathered.foreign.is_some();
            is_full && !gathered.is_abandoned
        };
        let gathered = self.taken.wait_while(self.lock(), is_full);
        add(&mut gathered.unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
    }

    /// What there is now; none if the task must wait.
    fn take(&self, block: &mut Vec<u8>) -> Option<io::Result<Taken>> {
        let mut gathered = self.lock();
        if gathered.bytes.is_empty() {
            if let Some(foreign) = gathered.foreign.take() {
                self.taken.notify_one();
                return Some(Ok(Taken::Foreign(foreign)));
            }
            return gathered.end.take().map(|end| {
                // Whoever asks again after the end gets the end again.
                gathered.end = Some(Ok(()));
                end.map(|()| Taken::End)
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
