//! Recognises compressed streams by their first bytes and reads them decompressed.
//!
//! Several members behind one another are one stream; zeros before, between and behind them are
//! padding, as `gzip` and `xz` have it. A stream that ends in the middle of a member gives
//! everything before that, then [`std::io::ErrorKind::UnexpectedEof`]. What belongs to no member,
//! or cannot be decompressed of one, is *refused*, and reading goes on at the next member.
//!
//! Magic numbers: RFC 1952 (gzip), RFC 8878 (zstd, its skippable frames too), the xz file format
//! 1.2 §2.1.1, and bzip2's source, where a stream header is followed by a block or by the end.

mod decoder;
pub mod foreign;
pub mod gzip;
mod input;
mod members;
mod noise;
mod refused;
#[cfg(test)]
pub(crate) mod testing;

use std::io::{self, Chain, Cursor, ErrorKind, Read};

use contract::quantity::ByteSize;

pub use input::Source;
pub use members::Members;
pub use refused::Refused;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, any number of members.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
    /// bzip2, any number of streams.
    Bzip2,
    /// xz, any number of streams.
    Xz,
}

const ALL: [Compression; 4] =
    [Compression::Gzip, Compression::Zstd, Compression::Bzip2, Compression::Xz];

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Behind a first byte from 0x50 to 0x5f.
const ZSTD_SKIPPABLE_MAGIC: &[u8] = &[0x2a, 0x4d, 0x18];
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2_MAGIC: &[u8] = b"BZh";
/// What follows `BZh` and a digit: a block, or the end of a stream without any.
const BZIP2_BLOCKS: [&[u8]; 2] =
    [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
/// How many bytes tell for sure.
const MAGIC_BYTES_MAX: usize = 10;

/// What a compressed stream may ask of the one who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest window of a zstd frame: so much of the text is held in memory.
    pub zstd_window_max: ByteSize,
}

impl Default for Limits {
    /// What `zstd` itself takes without being told: 128 MiB.
    fn default() -> Self {
        Self { zstd_window_max: ByteSize(128 << 20) }
    }
}

impl Limits {
    /// The largest window that there is: that of `zstd --long=31`.
    pub const ZSTD_WINDOW_MAX: ByteSize = ByteSize(2 << 30);
    /// The smallest limit that makes sense: every decoder must take 8 MiB (RFC 8878, 3.1.1.1.2).
    pub const ZSTD_WINDOW_MIN: ByteSize = ByteSize(8 << 20);

    /// The default of a setting of that name.
    pub fn zstd_window_max_default() -> ByteSize {
        Self::default().zstd_window_max
    }

    fn zstd_window_log(self) -> u32 {
        self.zstd_window_max.0.clamp(Self::ZSTD_WINDOW_MIN.0, Self::ZSTD_WINDOW_MAX.0).ilog2()
    }

    /// Says which limit an error is about.
    fn explain(self, error: io::Error) -> io::Error {
        if !decoder::is_about_memory(&error) {
            return error;
        }
        let limit = self.zstd_window_max;
        let message = format!("its zstd window is larger than zstd_window_max, {limit}");
        io::Error::new(ErrorKind::QuotaExceeded, message)
    }
}

impl Compression {
    /// Its name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// What a part is called that can be decompressed alone.
    pub fn member_name(self) -> &'static str {
        match self {
            Self::None => "text",
            Self::Gzip => "gzip member",
            Self::Zstd => "zstd frame",
            Self::Bzip2 => "bzip2 stream",
            Self::Xz => "xz stream",
        }
    }

    /// How many bytes [`Compression::of`] wants to see.
    pub const FIRST_BYTES: usize = MAGIC_BYTES_MAX;

    /// The ends of names that say so.
    pub const SUFFIXES: [&'static str; 5] = [".gz", ".zst", ".zstd", ".bz2", ".xz"];

    /// Tells by the first ten bytes; fewer only if the stream has no more.
    pub fn of(first: &[u8]) -> Self {
        let found = ALL.into_iter().find(|one| one.begins(first) == Some(true));
        found.unwrap_or(Self::None)
    }

    /// Whether bytes are the beginning of such a stream; none if there are too few to tell.
    fn begins(self, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::None => Some(true),
            Self::Gzip => starts(bytes, GZIP_MAGIC),
            Self::Xz => starts(bytes, XZ_MAGIC),
            Self::Zstd => match bytes.first() {
                Some(0x50..=0x5f) => starts(&bytes[1..], ZSTD_SKIPPABLE_MAGIC),
                _ => starts(bytes, ZSTD_MAGIC),
            },
            Self::Bzip2 => match bytes.get(BZIP2_MAGIC.len()) {
                None => starts(bytes, BZIP2_MAGIC).filter(|starts| !starts),
                Some(b'1'..=b'9') if bytes.starts_with(BZIP2_MAGIC) => {
                    let rest = &bytes[BZIP2_MAGIC.len() + 1..];
                    let found = BZIP2_BLOCKS.map(|magic| starts(rest, magic));
                    match found.contains(&Some(true)) {
                        true => Some(true),
                        false if found.contains(&None) => None,
                        false => Some(false),
                    }
                }
                Some(_) => Some(false),
            },
        }
    }

    /// Reads so much of a stream's beginning as the decision needs; returns the stream whole.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn detect<R: Read>(stream: R) -> io::Result<(Self, Whole<R>)> {
        let (first, whole) = look_at(stream, |first| !Self::is_decided(first))?;
        Ok((Self::of(&first), whole))
    }

    /// The same of a log.
    ///
    /// # Errors
    /// The stream cannot be read, or is an archive of another kind: see [`refuse_foreign`].
    pub(crate) fn detect_log<R: Read>(stream: R) -> io::Result<(Self, Whole<R>)> {
        let is_open = |first: &[u8]| match first.len() {
            0..noise::SHOWN_BYTES => {
                !Self::is_decided(first)
                    || foreign::may_become_archive(first)
                    || (Self::of(first) == Self::None && noise::may_be_noise(first))
            }
            noise::SHOWN_BYTES..noise::NOISE_BYTES_MAX => {
                foreign::may_become_archive(first)
                    || (Self::of(first) == Self::None
                        && noise::is_noise(&first[..noise::SHOWN_BYTES]))
            }
            _ => false,
        };
        let (first, whole) = look_at(stream, is_open)?;
        let mut compression = Self::of(&first);
        refuse_foreign(compression, &first)?;
        let shown = &first[..first.len().min(noise::SHOWN_BYTES)];
        if compression == Self::None && noise::is_noise(shown) {
            compression = Self::of_noise(&first);
        }
        Ok((compression, whole))
    }

    fn is_decided(first: &[u8]) -> bool {
        ALL.iter().all(|one| one.begins(first).is_some())
    }
}

/// Takes the first bytes of a stream as long as the decision is open; returns the stream whole.
fn look_at<R: Read>(
    mut stream: R,
    is_open: impl Fn(&[u8]) -> bool,
) -> io::Result<(Vec<u8>, Whole<R>)> {
    let mut first = Vec::with_capacity(MAGIC_BYTES_MAX);
    while is_open(&first) {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => first.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = Cursor::new(first.clone()).chain(stream);
    Ok((first, whole))
}

/// Refuses what begins as an archive that is not read.
///
/// # Errors
/// Of the kind `Unsupported`: it is one, and the error names its kind.
pub fn refuse_foreign(compression: Compression, first: &[u8]) -> io::Result<()> {
    match foreign::archive(first) {
        Some(name) if compression == Compression::None => {
            Err(io::Error::new(ErrorKind::Unsupported, foreign::Archive(name)))
        }
        _ => Ok(()),
    }
}

/// The command that gives the text of an archive which was refused: `unzip -p FILE`.
pub fn unpacks(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<foreign::Archive>().map(foreign::Archive::unpacks)
}

/// A stream whose first bytes were looked at.
pub type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// Whether bytes begin with a magic number; none if they are a part of it.
fn starts(bytes: &[u8], magic: &[u8]) -> Option<bool> {
    match bytes.len() < magic.len() {
        true if magic.starts_with(bytes) => None,
        _ => Some(bytes.starts_with(magic)),
    }
}

#[cfg(test)]
mod tests;
