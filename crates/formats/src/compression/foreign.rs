//! Archives and compressed forms that are not read: their bytes are no text, and are never taken
//! for any.
//!
//! Known by what they begin with: APPNOTE 4.3 (zip), `7zFormat.txt` (7z), the RAR 5.0 archive
//! format, the LZ4 frame format (its legacy frames too), compress(1) (`.Z`), the manual of lzip,
//! `lzma-file-format.txt` of XZ Utils, and the ustar interchange format of POSIX pax.

use std::fmt;

/// How many bytes tell for sure.
pub const FIRST_BYTES: usize = 512;

/// What they begin with.
const MAGIC: [(&[u8], &str); 10] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"PK\x07\x08", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x04\x22\x4d\x18", "a file of lz4"),
    (b"\x02\x21\x4c\x18", "a file of lz4"),
    (b"\x1f\x9d", "a file of compress (.Z)"),
    (b"LZIP\x01", "a file of lzip"),
    (b"LZIP\x00", "a file of lzip"),
];

/// Most programs write these properties (lc=3, lp=0, pb=2), and dictionaries of whole KiB.
const LZMA_BEGIN: &[u8] = &[0x5d, 0, 0];
const LZMA_HEADER_BYTES: usize = 13;
/// Larger sizes are none, as XZ Utils has it.
const LZMA_SIZE_MAX: u64 = 1 << 38;

/// Where a header of tar has its magic, and its sum.
const TAR_MAGIC_AT: usize = 257;
const TAR_MAGIC: [&[u8]; 2] = [b"ustar\0", b"ustar  \0"];
const TAR_SUM: std::ops::Range<usize> = 148..156;
/// Where it has the rights of a file, in octal digits, behind the name.
const TAR_MODE: std::ops::Range<usize> = 100..108;

/// An archive that is refused, by its name.
#[derive(Debug)]
pub struct Archive(pub &'static str);

impl std::error::Error for Archive {}

impl fmt::Display for Archive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "it is {}, and no log", self.0)
    }
}

impl Archive {
    /// What gives its text.
    pub fn unpacks(&self) -> &'static str {
        match self.0 {
            "a zip archive" => "unzip -p FILE",
            "a 7z archive" => "7z x -so FILE",
            "a rar archive" => "unrar p -inul FILE",
            "a file of lz4" => "lz4 -dc FILE",
            "a file of compress (.Z)" => "gzip -dc FILE",
            "a file of lzip" => "lzip -dc FILE",
            "a file of lzma" => "xz -dc FILE",
            _ => "tar -xOf FILE",
        }
    }
}

/// What a file or stream is that begins so and is not read; none for anything else.
pub fn archive(first: &[u8]) -> Option<&'static str> {
    let found = MAGIC.into_iter().find(|(magic, _)| first.starts_with(magic));
    match found {
        Some((_, name)) => Some(name),
        None if is_lzma(first) => Some("a file of lzma"),
        None if is_tar(first) => Some("a tar archive"),
        None => None,
    }
}

/// Whether more bytes may make an archive of the few that are there. Of a stream nobody waits for
/// more once it has a whole line: no name in an archive of tar has a line break.
pub fn may_become_archive(first: &[u8]) -> bool {
    let is_part = |magic: &[u8]| first.len() < magic.len() && magic.starts_with(first);
    let is_lzma = match first.len() < LZMA_BEGIN.len() {
        true => is_part(LZMA_BEGIN),
        false => first.len() < LZMA_HEADER_BYTES && first.starts_with(LZMA_BEGIN),
    };
    is_lzma || MAGIC.iter().any(|(magic, _)| is_part(magic)) || may_become_tar(first)
}

/// Whether all that is there can stand in a header: a name and zeros behind it, then digits.
fn may_become_tar(first: &[u8]) -> bool {
    let name = &first[..first.len().min(TAR_MODE.start)];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let mode = first.get(TAR_MODE.start..).unwrap_or_default();
    let mode = &mode[..mode.len().min(TAR_MODE.len())];
    let line_end = first[..first.len().min(TAR_MAGIC_AT)].contains(&b'\n');
    first.len() < FIRST_BYTES
        && first.first() != Some(&0)
        && !line_end
        && name[end..].iter().all(|byte| *byte == 0)
        && mode.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | 0))
}

fn is_lzma(first: &[u8]) -> bool {
    let Some(header) = first.get(..LZMA_HEADER_BYTES) else { return false };
    let (dictionary, size) = header[1..].split_at(4);
    let dictionary = dictionary.try_into().map_or(0, u32::from_le_bytes);
    let size = size.try_into().map_or(0, u64::from_le_bytes);
    // A power of two, or the sum of two that follow one another.
    let is_dictionary = dictionary >= 4096
        && (dictionary.is_power_of_two()
            || (dictionary.is_multiple_of(3) && (dictionary / 3).is_power_of_two()));
    header.starts_with(LZMA_BEGIN) && is_dictionary && (size == u64::MAX || size < LZMA_SIZE_MAX)
}

/// A header with its magic and the sum of its bytes, in which those of the sum count as blanks.
fn is_tar(first: &[u8]) -> bool {
    let Some(header) = first.get(..FIRST_BYTES) else { return false };
    if !TAR_MAGIC.iter().any(|magic| header[TAR_MAGIC_AT..].starts_with(magic)) {
        return false;
    }
    let digits = std::str::from_utf8(&header[TAR_SUM]).unwrap_or_default();
    let digits = digits.trim_matches(|sign: char| sign == ' ' || sign == '\0');
    let sum = |range: &[u8]| range.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let blanks = TAR_SUM.len() as u32 * u32::from(b' ');
    let expect = sum(&header[..TAR_SUM.start]) + blanks + sum(&header[TAR_SUM.end..]);
    u32::from_str_radix(digits, 8) == Ok(expect)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of an empty file in an archive of tar.
    fn tar(name: &str, magic: &[u8]) -> Vec<u8> {
        let mut header = vec![0; FIRST_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[TAR_MAGIC_AT..TAR_MAGIC_AT + magic.len()].copy_from_slice(magic);
        header[TAR_SUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[TAR_SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn each_archive_has_a_command_of_its_own() {
        let check = |name: &'static str, expect: &str| assert_eq!(Archive(name).unpacks(), expect);
        check("a zip archive", "unzip -p FILE");
        check("a tar archive", "tar -xOf FILE");
        let mut others = MAGIC.iter().map(|(_, name)| Archive(name).unpacks());
        assert!(others.all(|command| !command.starts_with("tar")));
    }

    #[test]
    fn archives_are_known_by_what_they_begin_with() {
        let check = |bytes: &[u8], expect: Option<&str>| {
            assert_eq!(archive(bytes), expect, "{bytes:?}");
        };
        check(b"PK\x03\x04\x14\0\0\0", Some("a zip archive"));
        check(b"7z\xbc\xaf\x27\x1c\0\x04", Some("a 7z archive"));
        check(b"Rar!\x1a\x07\x01\0", Some("a rar archive"));
        check(b"\x04\x22\x4d\x18\x64", Some("a file of lz4"));
        check(b"\x1f\x9d\x90", Some("a file of compress (.Z)"));
        // `printf 'one\n' | xz --format=lzma -0 | head -c 13`
        check(&[0x5d, 0, 0, 4, 0, 255, 255, 255, 255, 255, 255, 255, 255], Some("a file of lzma"));
        check(&[0x5d, 0, 0, 128, 0, 4, 0, 0, 0, 0, 0, 0, 0], Some("a file of lzma"));
        for magic in TAR_MAGIC {
            check(&tar("a.log", magic), Some("a tar archive"));
        }
    }

    #[test]
    fn text_is_no_archive() {
        let check = |bytes: &[u8]| assert_eq!(archive(bytes), None, "{bytes:?}");
        check(b"");
        check(b"PK\x03");
        check(b"PKIX path building failed");
        check(b"Rar! is what it said");
        check(b"LZIP 1.24");
        check(&[b']', 0, b' ', 0, b'x', 0, b'y', 0, b'z', 0, b'\n', 0, b'a', 0]);
        let mut forged = tar("GET /", TAR_MAGIC[0]);
        forged[0] = b'P';
        check(&forged);
        check(&b"ustar\0 ".repeat(100));
    }

    #[test]
    fn a_few_bytes_are_not_decided() {
        for (magic, _) in MAGIC {
            for length in 0..magic.len() {
                assert!(may_become_archive(&magic[..length]), "{magic:?} at {length}");
            }
        }
        assert!(may_become_archive(&[0x5d, 0, 0, 4]));
        let header = tar("a.log", TAR_MAGIC[0]);
        for length in 0..header.len() {
            assert!(may_become_archive(&header[..length]), "tar at {length}");
        }
        assert!(!may_become_archive(&header));
    }

    #[test]
    fn a_line_is_decided() {
        let check = |bytes: &[u8], expect: bool| {
            assert_eq!(may_become_archive(bytes), expect, "{bytes:?}");
        };
        check(b"", true);
        check(b"one", true);
        check(b"one\n", false);
        check(b"one\0two", false);
        check(&[0; 300], false);
        check(&[b'a'; 101], false);
        check(&[b"a".repeat(100).as_slice(), b"0000644\0"].concat(), true);
        check(&[b"a".repeat(100).as_slice(), b"0000644\0one\n"].concat(), false);
    }
}
