//! A stream whose first text can be looked at before anybody reads it.
//!
//! A thread of its own reads what is looked at, because a read of a terminal or pipe may never
//! return; whoever reads the stream then gets all of it from there. Where nobody looks, nobody
//! stands in between.
//!
//! Invariant: each byte of the stream is given to its reader once, looked at or not.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use formats::compression::Limits;
use formats::decoded::Decoded;
use formats::encoding::Growth;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::intake::panicked;

/// The bytes that are read at once; pipes hold as many.
const READ_BYTES: usize = 64 << 10;
/// The most that is held of a stream, as it came. A block of bzip2, of which nothing can be seen
/// before its end, has at most 900 kB.
const HELD_BYTES_MAX: usize = 4 << 20;
/// So long nothing must have come behind a whole line: a slow writer shows no more for now.
const QUIET: Duration = Duration::from_millis(250);
/// So long after the first whole line it is enough, however much comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Standard input, of which a process has one.
static STANDARD: LazyLock<Ahead> = LazyLock::new(|| Ahead::new(Box::new(io::stdin())));

/// A stream that can be looked at.
#[derive(Clone)]
pub struct Ahead(Arc<Shared>);

struct Shared {
    stream: Mutex<Box<dyn Read + Send>>,
    held: Mutex<Held>,
    /// Bytes came, or the end.
    arrived: Notify,
    /// The same for a reader, and that there is room for the thread.
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    taken: usize,
    end: Option<io::Result<()>>,
    who: Who,
}

/// Who reads the stream itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Who {
    #[default]
    Nobody,
    /// The thread, for whoever looks and then for the reader.
    Thread,
    /// The reader: nobody looked before it began.
    Reader,
}

impl Ahead {
    /// Standard input.
    pub fn standard() -> &'static Self {
        &STANDARD
    }

    /// Nothing of the stream is read yet.
    pub fn new(stream: Box<dyn Read + Send>) -> Self {
        Self(Arc::new(Shared {
            stream: Mutex::new(stream),
            held: Mutex::default(),
            arrived: Notify::new(),
            changed: Condvar::new(),
        }))
    }

    /// The stream for the one who reads it.
    pub fn reader(&self) -> Reader {
        Reader(self.0.clone())
    }

    /// The first text of the stream, decompressed, and nothing of it is taken away: whole lines of
    /// about so many bytes, and at least one. Fewer where the stream pauses behind a line, all
    /// where it ends before. Waits for the first line. Cancel safe.
    ///
    /// # Errors
    /// The stream cannot be read or decompressed, is read already, or has no line end in what is
    /// held of it.
    pub async fn text(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.start()?;
        let mut first_line: Option<Instant> = None;
        loop {
            let seen = self.look(bytes_max)?;
            if seen.is_enough {
                return Ok(seen.text);
            }
            let arrived = self.0.arrived.notified();
            if seen.text.is_empty() {
                arrived.await;
                continue;
            }
            let since = first_line.get_or_insert_with(Instant::now);
            let left = QUIET.min(PATIENCE.saturating_sub(since.elapsed()));
            if timeout(left, arrived).await.is_err() {
                return Ok(seen.text);
            }
        }
    }

    /// Has the thread begin.
    fn start(&self) -> io::Result<()> {
        let mut held = self.0.held();
        match held.who {
            Who::Thread => return Ok(()),
            Who::Reader => return Err(io::Error::other("somebody reads it already")),
            Who::Nobody => held.who = Who::Thread,
        }
        let theirs = self.0.clone();
        let read = move || {
            if catch_unwind(AssertUnwindSafe(|| theirs.read_all())).is_err() {
                theirs.end(Err(panicked()));
            }
        };
        std::thread::Builder::new().spawn(read).map(drop)
    }

    /// What can be seen now.
    fn look(&self, bytes_max: usize) -> io::Result<Seen> {
        let (raw, has_ended, is_full) = {
            let held = self.0.held();
            let raw = held.bytes[held.taken..].to_vec();
            let is_full = raw.len() >= HELD_BYTES_MAX;
            (raw, held.end.is_some(), is_full)
        };
        let (mut text, outcome) = decoded(raw, bytes_max);
        let is_all = has_ended && outcome.is_ok() && text.len() < bytes_max;
        let lines = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if !is_all {
            // What is held ends anywhere: half a line would count as one of another format.
            let is_line = lines == 0 && (is_full || text.len() >= bytes_max);
            text.truncate(if is_line { text.len() } else { lines });
        }
        match outcome {
            Err(error) if text.is_empty() && (has_ended || is_full || is_damage(&error)) => {
                return Err(error);
            }
            _ => {}
        }
        let is_enough = has_ended || is_full || text.len() >= bytes_max / 2;
        Ok(Seen { text, is_enough })
    }
}

/// What can be seen of a stream.
struct Seen {
    text: Vec<u8>,
    is_enough: bool,
}

/// Whether more bytes would not help.
fn is_damage(error: &io::Error) -> bool {
    error.kind() != ErrorKind::UnexpectedEof
}

/// So much as can be decoded of a stream's first bytes, and what befell behind that.
fn decoded(raw: Vec<u8>, bytes_max: usize) -> (Vec<u8>, io::Result<()>) {
    let mut text = Vec::new();
    let (stream, limits) = (Box::new(io::Cursor::new(raw)), Limits::default());
    let mut decoded = match Decoded::log(stream, limits, Growth::Closed) {
        Ok(decoded) => decoded,
        Err(error) => return (text, Err(error)),
    };
    let outcome = decoded.first_text(&mut text, bytes_max);
    (text, outcome)
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self) -> MutexGuard<'_, Box<dyn Read + Send>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: io::Result<()>) {
        self.held().end = Some(end);
        self.changed.notify_all();
        self.arrived.notify_one();
    }

    /// Reads until the end, and never holds more than its limit and one piece.
    fn read_all(&self) {
        let mut piece = vec![0; READ_BYTES];
        let mut stream = self.stream();
        loop {
            let outcome = stream.read(&mut piece);
            let mut held = self
                .changed
                .wait_while(self.held(), |held| held.bytes.len() - held.taken >= HELD_BYTES_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            if held.taken > held.bytes.len() / 2 {
                let taken = mem::take(&mut held.taken);
                held.bytes.drain(..taken);
            }
            match outcome {
                Ok(0) => held.end = Some(Ok(())),
                Ok(length) => held.bytes.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => held.end = Some(Err(error)),
            }
            let has_ended = held.end.is_some();
            drop(held);
            self.changed.notify_all();
            self.arrived.notify_one();
            if has_ended {
                return;
            }
        }
    }
}

/// The stream for the one who reads it.
pub struct Reader(Arc<Shared>);

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut held = self.0.held();
        if held.who != Who::Thread {
            held.who = Who::Reader;
            drop(held);
            return self.0.stream().read(into);
        }
        let mut held = self
            .0
            .changed
            .wait_while(held, |held| held.bytes.is_empty() && held.end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if held.bytes.is_empty() {
            // Whoever asks again after the end gets the end again.
            return held.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| 0);
        }
        let Held { bytes, taken, .. } = &mut *held;
        let length = into.len().min(bytes.len() - *taken);
        into[..length].copy_from_slice(&bytes[*taken..*taken + length]);
        *taken += length;
        if *taken == bytes.len() {
            bytes.clear();
            *taken = 0;
        }
        drop(held);
        self.0.changed.notify_all();
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc;

    use crate::pieces::{Panicking, Pieces};

    fn lines(count: usize) -> String {
        (0..count).map(|number| format!("line {number} of a log\n")).collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_all_the_same() {
        for text in [lines(3), lines(300_000), "no end".to_owned(), String::new()] {
            for packed in [text.clone().into_bytes(), gzip(text.as_bytes())] {
                let ahead = Ahead::new(Box::new(io::Cursor::new(packed.clone())));
                let first = ahead.text(1000).await.expect("memory can be read");
                let expect = &text.as_bytes()[..first.len()];
                assert_eq!(first, expect);
                assert!(first.len() >= text.len().min(900), "{} bytes", first.len());
                let again = ahead.text(1000).await.expect("memory can be read");
                assert_eq!(again, first, "nothing was taken away");
                let mut whole = Vec::new();
                ahead.reader().read_to_end(&mut whole).expect("memory can be read");
                assert!(whole == packed, "{} bytes of {}", whole.len(), packed.len());
            }
        }
    }

    #[tokio::test]
    async fn a_short_first_write_is_waited_for() {
        let (sender, receiver) = mpsc::channel();
        let ahead = Ahead::new(Box::new(Pieces(receiver)));
        let looking = ahead.text(1000);
        tokio::pin!(looking);
        sender.send(b"half".to_vec()).expect("somebody reads");
        let early = timeout(QUIET * 2, &mut looking).await;
        assert!(early.is_err(), "there is no line yet");
        sender.send(b" a line\nand a ha".to_vec()).expect("somebody reads");
        assert_eq!(looking.await.expect("a line"), b"half a line\n");
        sender.send(b"lf\n".to_vec()).expect("somebody reads");
        drop(sender);
        let mut whole = String::new();
        ahead.reader().read_to_string(&mut whole).expect("memory can be read");
        assert_eq!(whole, "half a line\nand a half\n");
    }

    #[tokio::test]
    async fn no_more_is_held_than_the_limit_says() {
        let text = vec![b'x'; 3 * HELD_BYTES_MAX];
        let ahead = Ahead::new(Box::new(io::Cursor::new(text.clone())));
        ahead.text(usize::MAX).await.expect("no line ends, and enough was seen");
        assert!(ahead.0.held().bytes.len() <= HELD_BYTES_MAX + READ_BYTES);
        let mut whole = Vec::new();
        ahead.reader().read_to_end(&mut whole).expect("memory can be read");
        assert_eq!(whole.len(), text.len());
    }

    #[tokio::test]
    async fn what_is_no_stream_of_its_kind_is_an_error() {
        let text = gzip(lines(1000).as_bytes());
        let torn = Ahead::new(Box::new(io::Cursor::new(text[..12].to_vec())));
        let error = torn.text(1000).await.expect_err("it has no text");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_told_to_who_looks_and_to_who_reads() {
        let ahead = Ahead::new(Box::new(Panicking));
        let looked = timeout(Duration::from_secs(30), ahead.text(1000)).await;
        assert!(looked.expect("nobody waits").is_ok_and(|text| text.is_empty()));
        let error = ahead.reader().read(&mut [0; 4]).expect_err("it panicked");
        assert!(crate::intake::is_panic(&error), "{error}");
    }

    #[tokio::test]
    async fn who_reads_first_is_looked_at_by_nobody() {
        let ahead = Ahead::new(Box::new(io::Cursor::new("one\ntwo\n")));
        let mut four = [0; 4];
        ahead.reader().read_exact(&mut four).expect("memory can be read");
        assert!(ahead.text(1000).await.is_err(), "a part of it is gone");
        let mut rest = String::new();
        ahead.reader().read_to_string(&mut rest).expect("memory can be read");
        assert_eq!((&four, rest.as_str()), (b"one\n", "two\n"));
    }
}
