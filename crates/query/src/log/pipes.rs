//! Pipes as logs: `cat a.log | logmill query "… log('/dev/stdin', …)"`, `<(…)`, named pipes.
//!
//! Invariant: what a pipe gave is never lost silently. Whoever wants to read it a second time in
//! one process is refused, for he would get nothing or the rest.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Cursor, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use contract::{Error, Result};
use formats::compression::Source;

/// How much of a pipe is kept to learn what it holds before it is read.
const SAMPLE_BYTES_MAX: usize = 16 << 20;
/// How much is read at once for that.
const READ_BYTES: usize = 64 << 10;

/// The pipes that queries of this process named.
static PIPES: LazyLock<Mutex<Pipes>> = LazyLock::new(Mutex::default);

/// Pipes by device and inode.
type Pipes = HashMap<(u64, u64), Arc<Pipe>>;

/// A pipe that a query names.
#[derive(Debug)]
pub struct Pipe {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Unopened,
    /// With what was read as a sample.
    Open(File, Vec<u8>),
    Taken,
}

/// Whether a name is that of this process's standard input.
pub fn is_stdin(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

/// Notes that standard input was read by somebody else.
pub fn take_stdin() {
    let metadata = own(io::stdin()).and_then(|stdin| stdin.metadata());
    if let Ok(metadata) = metadata {
        let path = PathBuf::from("/dev/stdin");
        let pipe = Arc::new(Pipe { path, state: Mutex::new(State::Taken) });
        lock(&PIPES).insert(key(&metadata), pipe);
    }
}

/// The pipe of a name; the same one for all who name it.
///
/// # Errors
/// Config: this process writes to it.
pub fn named(path: &Path, metadata: &Metadata) -> Result<Arc<Pipe>> {
    let is = |file: io::Result<File>| {
        let other = file.and_then(|file| file.metadata());
        other.is_ok_and(|other| key(&other) == key(metadata))
    };
    let is_output = is(own(io::stdout())) || is(own(io::stderr()));
    if is_output && !is(own(io::stdin())) {
        let path = path.display().to_string();
        return Err(Error::config(format!("{path:?} is a pipe that this command writes to"))
            .hint("it leads to the standard output of whoever opens it; name the log itself"));
    }
    let pipe = || Arc::new(Pipe { path: path.to_owned(), state: Mutex::new(State::Unopened) });
    Ok(lock(&PIPES).entry(key(metadata)).or_insert_with(pipe).clone())
}

fn key(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A stream of this process as a file of its own.
fn own(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    /// Its beginning, which whoever takes it gets again.
    pub fn sample(self: &Arc<Self>) -> Source {
        Box::new(Sample { pipe: self.clone(), given: 0 })
    }

    /// All that it gives.
    ///
    /// # Errors
    /// Config: it was taken before. External: it cannot be opened.
    pub fn take(&self) -> Result<Source> {
        let mut state = lock(&self.state);
        self.open(&mut state).map_err(|error| {
            Error::external(format!("could not read {:?}", self.name())).because(error)
        })?;
        match std::mem::replace(&mut *state, State::Taken) {
            State::Open(file, seen) => Ok(Box::new(Cursor::new(seen).chain(file))),
            State::Unopened | State::Taken => {
                Err(Error::config(format!("{:?} is a pipe, which can be read once", self.name()))
                    .hint("write it to a file first, and let the query read that"))
            }
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Waits until somebody writes to it.
    fn open(&self, state: &mut State) -> io::Result<()> {
        if let State::Unopened = state {
            let file = match is_stdin(&self.path) {
                // It may be a socket, or another user's pipe: neither can be opened again.
                true => own(io::stdin())?,
                false => File::open(&self.path)?,
            };
            *state = State::Open(file, Vec::new());
        }
        Ok(())
    }
}

struct Sample {
    pipe: Arc<Pipe>,
    given: usize,
}

impl Read for Sample {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.pipe.state);
        self.pipe.open(&mut state)?;
        let State::Open(file, seen) = &mut *state else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a pipe can be read once"));
        };
        if self.given == seen.len() && seen.len() < SAMPLE_BYTES_MAX {
            let mut bytes = vec![0; READ_BYTES];
            let length = file.read(&mut bytes)?;
            seen.extend_from_slice(&bytes[..length]);
        }
        let rest = &seen[self.given..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A pipe whose other end is given to `write`.
    fn pipe(write: impl FnOnce(io::PipeWriter) + Send + 'static) -> Arc<Pipe> {
        let (reader, writer) = io::pipe().expect("a pipe");
        std::thread::spawn(move || write(writer));
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let state = Mutex::new(State::Open(file, Vec::new()));
        Arc::new(Pipe { path: "pipe".into(), state })
    }

    #[test]
    fn a_sample_takes_nothing_away() {
        let text = "a line\n".repeat(100_000);
        let expect = text.clone();
        let pipe = pipe(move |mut writer| {
            writer.write_all(text.as_bytes()).expect("somebody reads");
        });
        for length in [1, 100, 100_000] {
            let mut sample = vec![0; length];
            pipe.sample().read_exact(&mut sample).expect("readable");
            assert_eq!(sample, expect.as_bytes()[..length]);
        }
        let mut all = String::new();
        pipe.take().expect("the first time").read_to_string(&mut all).expect("readable");
        assert_eq!(all, expect);
    }

    #[test]
    fn a_pipe_is_read_once() {
        let pipe = pipe(drop);
        pipe.take().map(drop).expect("the first time");
        let error = pipe.take().map(drop).expect_err("the second time");
        assert_eq!(error.to_string(), "\"pipe\" is a pipe, which can be read once");
        assert!(pipe.sample().read(&mut [0]).is_err());
    }
}
