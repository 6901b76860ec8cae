//! Raw log files, cut into pieces that can be read at the same time.
//!
//! A plain file is cut at line ends, so that every line belongs to exactly one piece whoever reads
//! it; a compressed file is one piece. Compression is told by the first bytes, not by the name.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::error::Context;
use contract::{Error, Result};
use formats::compression::Compression;

/// Bytes of a piece of a plain file: small enough to keep all threads busy to the end.
const PIECE_BYTES: u64 = 16 << 20;
/// Bytes looked at in one go while searching the end of a line.
const SEARCH_BYTES: usize = 64 << 10;

/// Bytes that tell how a file is compressed.
const MAGIC_BYTES: u64 = 4;

/// A raw log file, as it was when the query began.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    bytes: u64,
    compression: Compression,
}

/// A part of a file that one thread reads.
#[derive(Clone, Debug)]
pub struct Piece {
    file: Arc<LogFile>,
    from: u64,
    to: u64,
}

/// The files that a glob matches, sorted by name.
///
/// # Errors
/// Config: nothing matches, or the glob is malformed. External: a file cannot be read.
pub fn find(pattern: &str) -> Result<Vec<Arc<LogFile>>> {
    let paths = glob::glob(pattern)
        .map_err(|error| Error::config(format!("glob {pattern:?} is wrong")).because(error))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.external(|| format!("could not list {pattern:?}"))?;
        if !path.is_dir() {
            files.push(Arc::new(LogFile::open(&path)?));
        }
    }
    if files.is_empty() {
        let hint = match pattern.starts_with("~/") {
            true => "`~` is the shell's: write the whole path",
            false => "paths are relative to the folder that the command runs in",
        };
        return Err(Error::config(format!("no file matches {pattern:?}")).hint(hint));
    }
    Ok(files)
}

impl LogFile {
    fn open(path: &Path) -> Result<Self> {
        let unreadable = || format!("could not read {:?}", path.display().to_string());
        let mut file = File::open(path).external(unreadable)?;
        let bytes = file.metadata().external(unreadable)?.len();
        let mut magic = Vec::new();
        file.by_ref().take(MAGIC_BYTES).read_to_end(&mut magic).external(unreadable)?;
        let compression = Compression::of(&magic);
        Ok(Self { path: path.to_owned(), bytes, compression })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The first piece of a file, as a sample of it.
pub fn sample(file: &Arc<LogFile>) -> Piece {
    Piece { file: file.clone(), from: 0, to: file.bytes.min(PIECE_BYTES) }
}

/// Cuts files into pieces, in order.
pub fn cut(files: &[Arc<LogFile>]) -> Vec<Piece> {
    files.iter().flat_map(cut_file).collect()
}

fn cut_file(file: &Arc<LogFile>) -> Vec<Piece> {
    if file.compression != Compression::None {
        return vec![Piece { file: file.clone(), from: 0, to: file.bytes }];
    }
    let starts = (0..file.bytes).step_by(PIECE_BYTES as usize);
    let piece = |from| Piece { file: file.clone(), from, to: file.bytes.min(from + PIECE_BYTES) };
    starts.map(piece).collect()
}

impl Piece {
    /// The file that it is a part of.
    pub fn file(&self) -> &LogFile {
        &self.file
    }

    /// Opens the piece: where its first line begins, its bytes from there to the end of its last
    /// line, and the file that they come from.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn open(&self) -> Result<(u64, Box<dyn Read + Send>, File)> {
        let path = self.file.path.display().to_string();
        let unreadable = || format!("could not read {path:?}");
        let mut file = File::open(&self.file.path).external(unreadable)?;
        let handle = file.try_clone().external(unreadable)?;
        match self.file.compression {
            Compression::None => {
                let from = self.line_at_or_after(&file, self.from).external(unreadable)?;
                let to = self.line_at_or_after(&file, self.to).external(unreadable)?;
                file.seek(SeekFrom::Start(from)).external(unreadable)?;
                Ok((from, Box::new(file.take(to.saturating_sub(from))), handle))
            }
            compressed => {
                let stream = compressed.decode(BufReader::new(file)).external(unreadable)?;
                Ok((0, stream, handle))
            }
        }
    }

    /// The first line that begins at a byte or after it; the end of the file if none does.
    fn line_at_or_after(&self, file: &File, byte: u64) -> std::io::Result<u64> {
        if byte == 0 || byte >= self.file.bytes {
            return Ok(byte);
        }
        let mut window = vec![0; SEARCH_BYTES];
        let mut at = byte - 1;
        loop {
            let filled = file.read_at(&mut window, at)?;
            if filled == 0 {
                return Ok(self.file.bytes);
            }
            if let Some(end) = window[..filled].iter().position(|byte| *byte == b'\n') {
                return Ok((at + end as u64 + 1).min(self.file.bytes));
            }
            at += filled as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_belongs_to_exactly_one_piece() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let text: String = (0..50).map(|line| "x".repeat(line * 7 % 23) + "\n").collect();
        std::fs::write(&path, &text).expect("written");
        let file = Arc::new(LogFile::open(&path).expect("opened"));
        for step in 1..60 {
            let mut joined = String::new();
            for from in (0..file.bytes).step_by(step) {
                let to = file.bytes.min(from + step as u64);
                let piece = Piece { file: file.clone(), from, to };
                let (start, mut lines, _) = piece.open().expect("opened");
                let mut part = String::new();
                lines.read_to_string(&mut part).expect("read");
                assert!(part.is_empty() || start == joined.len() as u64, "step {step}");
                assert!(part.is_empty() || part.ends_with('\n'), "step {step}");
                joined.push_str(&part);
            }
            assert_eq!(joined, text, "step {step}");
        }
    }

    #[test]
    fn a_glob_without_a_match_is_the_users_error() {
        let error = find("/nowhere/*.log").expect_err("nothing there");
        assert_eq!(error.to_string(), "no file matches \"/nowhere/*.log\"");
    }
}
