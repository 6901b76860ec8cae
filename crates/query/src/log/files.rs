//! Raw log files, cut into pieces that can be read at the same time.
//!
//! A plain file is cut at line ends, so that every line belongs to exactly one piece whoever reads
//! it; a compressed file is one piece, and so is a pipe. Compression and encoding are told by the
//! first bytes, not by the name.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{File, FileType, Metadata};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{Error, Result};
use formats::compression::{Compression, Limits, Source, foreign, refuse_foreign, unpacks};
use formats::decoded::Decoded;
use formats::encoding::{Encoding, Growth};
use formats::lines::HOLE_BYTES_MIN;

use super::pipes::{self, Pipe};

/// Bytes of a piece of a plain file: small enough to keep all threads busy to the end.
const PIECE_BYTES: u64 = 16 << 20;
/// Bytes looked at in one go while searching the end of a line.
const SEARCH_BYTES: usize = 64 << 10;

/// Bytes that tell how a file is compressed and encoded, and whether it is no log at all.
const FIRST_BYTES: usize = foreign::FIRST_BYTES;

/// A raw log file, as it was when the query began.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    bytes: u64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Any place in it can be gone to.
    Plain,
    /// It is read from its first byte on.
    Packed(Compression),
    /// It is read once.
    Pipe(Arc<Pipe>),
}

/// What a query names.
pub struct Named {
    /// The files that can be opened.
    pub files: Vec<Arc<LogFile>>,
    /// The files of a pattern that cannot, each with why.
    pub unread: Vec<Unread>,
    /// Whether one file is named, without any pattern: what of it cannot be read is an error.
    pub is_strict: bool,
}

/// A file that cannot be read, and why.
pub type Unread = (PathBuf, Error);

/// A part of a file that one thread reads.
#[derive(Clone, Debug)]
pub struct Piece {
    file: Arc<LogFile>,
    from: u64,
    to: u64,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To learn what the file holds; it will be read again.
    Sample,
    Rows,
}

/// An open piece.
pub struct Opened {
    /// Where its first line begins.
    pub from: u64,
    /// Its text from there to the end of its last line.
    pub text: Decoded,
    /// The file, for the system to fetch ahead; none for a pipe.
    pub file: Option<File>,
}

/// The file of that name, or else all that a glob matches, sorted by name. What a glob matches and
/// is no file is passed over with a warning.
///
/// # Errors
/// Config: nothing matches, the glob is malformed, or the name is that of a folder or device.
/// External: the one file that is named cannot be read.
pub fn find(pattern: &str) -> Result<Named> {
    if let Ok(metadata) = Path::new(pattern).symlink_metadata() {
        let file = Arc::new(LogFile::named(Path::new(pattern), &metadata)?);
        return Ok(Named { files: vec![file], unread: Vec::new(), is_strict: true });
    }
    let mut named = expand(pattern)?;
    if named.is_empty() && pattern.contains('[') {
        // Brackets that stand for themselves, as in the name of a folder.
        named = expand(&pattern.replace('[', "[[]"))?;
    }
    if named.is_empty() {
        let hint = match pattern {
            _ if pattern.contains("://") => {
                "log() reads files: `curl … | logmill query …` with '/dev/stdin' as the name"
            }
            _ if pattern.starts_with("~/") => "`~` is the shell's: write the whole path",
            _ if pattern.contains('[') => {
                "`[…]` stands for one of several characters; write `[[]` for a bracket itself"
            }
            _ => "paths are relative to the folder that the command runs in",
        };
        return Err(Error::config(format!("no file matches {pattern:?}")).hint(hint));
    }
    Ok(named)
}

/// A pattern in which `**` at the end stands for all files below, not for the folders alone.
pub fn files_below(pattern: &str) -> Cow<'_, str> {
    match pattern == "**" || pattern.ends_with("/**") {
        true => Cow::Owned(format!("{pattern}/*")),
        false => Cow::Borrowed(pattern),
    }
}

fn expand(pattern: &str) -> Result<Named> {
    let paths = glob::glob(&files_below(pattern))
        .map_err(|error| Error::config(format!("glob {pattern:?} is wrong")).because(error))?;
    let mut named = Named { files: Vec::new(), unread: Vec::new(), is_strict: false };
    for path in paths {
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                let path = error.path().to_owned();
                named.unread.push((path.clone(), unreadable(&path, error.into())));
                continue;
            }
        };
        let what = match path.metadata() {
            Ok(metadata) if metadata.is_file() => {
                match LogFile::regular(&path) {
                    Ok(file) => named.files.push(Arc::new(file)),
                    Err(error) => named.unread.push((path, error)),
                }
                continue;
            }
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(metadata) => kind(metadata.file_type()),
            Err(error) if error.kind() == ErrorKind::NotFound => "a link that leads nowhere",
            Err(error) => {
                let error = unreadable(&path, error);
                named.unread.push((path, error));
                continue;
            }
        };
        tracing::warn!(path = %path.display(), "passed over {what}");
    }
    named.leave_copies_out();
    Ok(named)
}

impl Named {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unread.is_empty()
    }

    /// Leaves out files that repeat others, by the rule of pipelines and of `look`: as while a log
    /// is compressed, both are there.
    fn leave_copies_out(&mut self) {
        if self.files.len() < 2 {
            return;
        }
        let paths = self.files.iter().map(|file| file.path.clone()).collect();
        let (kept, repeated) = connector_file::File::without_copies(paths);
        let kept: HashSet<_> = kept.into_iter().collect();
        self.files.retain(|file| kept.contains(&file.path));
        repeated.iter().for_each(|one| tracing::warn!("{one}"));
    }
}

/// What something is that is neither a file nor a folder.
fn kind(file_type: FileType) -> &'static str {
    match file_type {
        _ if file_type.is_fifo() => "a pipe",
        _ if file_type.is_socket() => "a socket",
        _ => "a device",
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let unpacks = unpacks(&error);
    let told = Error::external(format!("could not read {:?}", path.display().to_string()));
    match unpacks {
        Some(unpacks) => told.because(error).hint(format!(
            "unpack it, or give its text to a pipe: `{unpacks} | logmill query …` with '/dev/stdin'"
        )),
        None => told.because(error),
    }
}

impl LogFile {
    /// What a query names itself, not by a pattern.
    fn named(path: &Path, link: &Metadata) -> Result<Self> {
        let metadata = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound && link.is_symlink() => {
                let message = format!("{:?} is a link that leads nowhere", path.display());
                return Err(Error::config(message));
            }
            other => other.map_err(|error| unreadable(path, error))?,
        };
        let file_type = metadata.file_type();
        if metadata.is_file() {
            return Self::regular(path);
        }
        if metadata.is_dir() {
            let path = path.display().to_string();
            return Err(Error::config(format!("{path:?} is a folder"))
                .hint(format!("name its files, e.g. \"{}/*.log\"", path.trim_end_matches('/'))));
        }
        if file_type.is_fifo() || pipes::is_stdin(path) && file_type.is_socket() {
            let form = Form::Pipe(pipes::named(path, &metadata)?);
            return Ok(Self { path: path.to_owned(), bytes: u64::MAX, form });
        }
        let what = kind(file_type);
        Err(Error::config(format!("{:?} is {what}, not a log", path.display().to_string()))
            .hint("name a file, or pipe a log in: `zcat a.gz | logmill query …` with '/dev/stdin'"))
    }

    fn regular(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let bytes = file.metadata().map_err(|error| unreadable(path, error))?.len();
        let mut first = [0; FIRST_BYTES];
        let mut length = 0;
        while length < first.len() {
            match file.read_at(&mut first[length..], length as u64) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(path, error)),
            }
        }
        let first = &first[..length];
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let compression = Compression::of_named(first, &name);
        refuse_foreign(compression, first).map_err(|error| unreadable(path, error))?;
        if compression == Compression::of(first) && compression != Compression::None {
            Decoded::log(Box::new(file), Limits::default(), Growth::Closed)
                .map_err(|error| unreadable(path, error))?;
        }
        let form = match (compression, Encoding::of(first)) {
            (Compression::None, Encoding::Utf8) => Form::Plain,
            (compression, _) => Form::Packed(compression),
        };
        Ok(Self { path: path.to_owned(), bytes, form })
    }

    /// Whether its text is not what stands on the disk.
    pub fn is_packed(&self) -> bool {
        !matches!(self.form, Form::Plain)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The first piece of a file, as a sample of it.
pub fn sample(file: &Arc<LogFile>) -> Piece {
    let to = match file.form {
        Form::Plain => file.bytes.min(PIECE_BYTES),
        Form::Packed(_) | Form::Pipe(_) => file.bytes,
    };
    Piece { file: file.clone(), from: 0, to, purpose: Purpose::Sample }
}

/// Cuts files into pieces, in order.
pub fn cut(files: &[Arc<LogFile>]) -> Vec<Piece> {
    files.iter().flat_map(cut_file).collect()
}

/// Files in one piece each, where lines belong together that a cut would part.
pub fn whole(files: &[Arc<LogFile>]) -> Vec<Piece> {
    files
        .iter()
        .map(|file| Piece { file: file.clone(), from: 0, to: file.bytes, purpose: Purpose::Rows })
        .collect()
}

fn cut_file(file: &Arc<LogFile>) -> Vec<Piece> {
    let piece = |from, to| Piece { file: file.clone(), from, to, purpose: Purpose::Rows };
    match file.form {
        Form::Packed(_) | Form::Pipe(_) => vec![piece(0, file.bytes)],
        Form::Plain => {
            let starts = (0..file.bytes).step_by(PIECE_BYTES as usize);
            starts.map(|from| piece(from, file.bytes.min(from + PIECE_BYTES))).collect()
        }
    }
}

impl Piece {
    /// The file that it is a part of.
    pub fn file(&self) -> &LogFile {
        &self.file
    }

    /// Opens the piece.
    ///
    /// # Errors
    /// External: the file cannot be read. Config: it is a pipe that was read before.
    pub fn open(&self) -> Result<Opened> {
        let path = &self.file.path;
        let unreadable = |error| unreadable(path, error);
        let packed = |compression, source: Source| {
            Decoded::new(compression, source, Limits::default(), Growth::Closed)
        };
        let mut file = match &self.file.form {
            Form::Pipe(pipe) => {
                let source = match self.purpose {
                    Purpose::Sample => pipe.sample(),
                    Purpose::Rows => pipe.take()?,
                };
                let text = Decoded::log(source, Limits::default(), Growth::Closed);
                return Ok(Opened { from: 0, text: text.map_err(unreadable)?, file: None });
            }
            Form::Plain | Form::Packed(_) => File::open(path).map_err(unreadable)?,
        };
        let handle = file.try_clone().map_err(unreadable)?;
        let (from, text) = match self.file.form {
            Form::Packed(compression) => (0, packed(compression, Box::new(file))),
            Form::Plain | Form::Pipe(_) => {
                let from = self.line_at_or_after(&file, self.from).map_err(unreadable)?;
                let to = self.line_at_or_after(&file, self.to).map_err(unreadable)?;
                file.seek(SeekFrom::Start(from)).map_err(unreadable)?;
                let part = std::io::Read::take(file, to.saturating_sub(from));
                (from, Decoded::plain(Box::new(part)))
            }
        };
        Ok(Opened { from, text, file: Some(handle) })
    }

    /// The first line that begins at a byte or after it; the end of the file if none does. Behind
    /// so many NULs as are a hole a line begins too, so that nobody looks through all of it.
    fn line_at_or_after(&self, file: &File, byte: u64) -> std::io::Result<u64> {
        if byte == 0 || byte >= self.file.bytes {
            return Ok(byte);
        }
        let mut window = vec![0; SEARCH_BYTES];
        let mut at = byte.saturating_sub(HOLE_BYTES_MIN as u64);
        let mut nuls = 0;
        loop {
            let filled = file.read_at(&mut window, at)?;
            if filled == 0 {
                return Ok(self.file.bytes);
            }
            for found in &window[..filled] {
                at += 1;
                nuls = if *found == 0 { nuls + 1 } else { 0 };
                if at >= byte && (*found == b'\n' || nuls >= HOLE_BYTES_MIN) {
                    return Ok(at.min(self.file.bytes));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_line_belongs_to_exactly_one_piece() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let line = |line: usize| "x".repeat(line * 7 % 23) + &"\0".repeat(line * 5 % 31) + "\n";
        let text: String = (0..50).map(line).collect();
        std::fs::write(&path, &text).expect("written");
        let file = Arc::new(LogFile::regular(&path).expect("opened"));
        for step in 1..60 {
            let mut joined = String::new();
            for from in (0..file.bytes).step_by(step) {
                let to = file.bytes.min(from + step as u64);
                let piece = Piece { file: file.clone(), from, to, purpose: Purpose::Rows };
                let mut opened = piece.open().expect("opened");
                let mut part = String::new();
                opened.text.read_to_string(&mut part).expect("read");
                assert!(part.is_empty() || opened.from == joined.len() as u64, "step {step}");
                joined.push_str(&part);
                let is_hole = joined.ends_with(&"\0".repeat(HOLE_BYTES_MIN));
                assert!(part.is_empty() || part.ends_with('\n') || is_hole, "step {step}");
            }
            assert_eq!(joined, text, "step {step}");
        }
    }

    #[test]
    fn a_glob_without_a_match_is_the_users_error() {
        let error = find("/nowhere/*.log").map(|_| ()).expect_err("nothing there");
        assert_eq!(error.to_string(), "no file matches \"/nowhere/*.log\"");
    }

    #[test]
    fn a_name_with_brackets_is_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| std::fs::write(folder.path().join(name), "a\n").expect("written");
        write("access[1].log");
        write("access2.log");
        std::fs::create_dir(folder.path().join("logs [old]")).expect("a folder");
        write("logs [old]/a.log");
        let found = |pattern: &str| {
            let files = find(folder.path().join(pattern).to_str().expect("text")).expect("found");
            let name = |file: &Arc<LogFile>| {
                file.path().strip_prefix(folder.path()).expect("inside").display().to_string()
            };
            files.files.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(found("access[1].log"), ["access[1].log"]);
        assert_eq!(found("access[2].log"), ["access2.log"]);
        assert_eq!(found("logs [old]/*.log"), ["logs [old]/a.log"]);
        let error = find("/nowhere/a[1].log").map(|_| ()).expect_err("nothing there");
        assert!(error.hint_text().expect("a hint").contains("[[]"));
    }

    #[test]
    fn what_is_no_file_is_passed_over_in_a_glob_and_refused_by_name() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.log"), "a\n").expect("written");
        symlink("gone", path("b.log")).expect("a link");
        symlink("/dev/null", path("c.log")).expect("a link");
        let _socket = std::os::unix::net::UnixListener::bind(path("d.log")).expect("a socket");
        let files = find(path("*.log").to_str().expect("text")).expect("one file");
        assert_eq!(files.files.len(), 1);
        for (name, expect) in [
            ("b.log", "is a link that leads nowhere"),
            ("c.log", "is a device, not a log"),
            ("d.log", "is a socket, not a log"),
            ("", "is a folder"),
        ] {
            let error = find(path(name).to_str().expect("text"));
            let error = error.map(|_| ()).expect_err("it is no file");
            assert!(error.to_string().ends_with(expect), "{error}");
        }
    }
}
