//! What stands before the deflated bytes of a gzip member (RFC 1952, 2.3).

use zlib_rs::crc32::crc32;

/// The fixed part.
pub const FIXED_BYTES: usize = 10;
/// What a header may have in all: names and comments have no limit of their own.
pub const BYTES_MAX: usize = 256 << 10;

/// The two magic numbers, and deflate, the only method that there is.
pub const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

const FLAG_CHECKSUM: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0xe0;

/// What bytes are as a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A header of so many bytes.
    Whole(usize),
    /// The beginning of one.
    Short,
    /// None.
    None,
}

impl Header {
    /// Looks at the bytes of a stream from a place on.
    pub fn of(bytes: &[u8]) -> Self {
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Self::None;
        }
        let Some(flags) = bytes.get(3).copied() else { return Self::Short };
        if flags & FLAGS_RESERVED != 0 {
            return Self::None;
        }
        match length(bytes, flags) {
            None if bytes.len() > BYTES_MAX => Self::None,
            None => Self::Short,
            Some(length) if flags & FLAG_CHECKSUM == 0 => Self::Whole(length),
            Some(length) => match bytes.get(length..length + 2) {
                None => Self::Short,
                Some(sum) if crc32(0, &bytes[..length]).to_le_bytes()[..2] == *sum => {
                    Self::Whole(length + 2)
                }
                Some(_) => Self::None,
            },
        }
    }
}

/// Where the parts before the checksum end.
fn length(bytes: &[u8], flags: u8) -> Option<usize> {
    let mut length = FIXED_BYTES;
    if flags & FLAG_EXTRA != 0 {
        let extra: [u8; 2] = bytes.get(length..length + 2)?.try_into().ok()?;
        length += 2 + usize::from(u16::from_le_bytes(extra));
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            length += 1 + memchr::memchr(0, bytes.get(length..)?)?;
        }
    }
    (bytes.len() >= length).then_some(length)
}

/// The first place at which a header may begin, as compressors write them, or may begin once more
/// bytes follow.
pub fn suspect(bytes: &[u8]) -> Option<usize> {
    let whole = memchr::memmem::find_iter(bytes, &MAGIC).find(|begin| may_begin(&bytes[*begin..]));
    // The magic numbers may be cut off at the end.
    let first_cut = bytes.len().saturating_sub(MAGIC.len() - 1);
    whole.or_else(|| (first_cut..bytes.len()).find(|begin| may_begin(&bytes[*begin..])))
}

fn may_begin(bytes: &[u8]) -> bool {
    let magic = bytes.len().min(MAGIC.len());
    let is = |place: usize, fits: fn(u8) -> bool| bytes.get(place).is_none_or(|byte| fits(*byte));
    bytes[..magic] == MAGIC[..magic]
        && is(3, |flags| flags & FLAGS_RESERVED == 0)
        // How hard the compressor tried, and its system: RFC 1952, 2.3.1.
        && is(8, |tried| matches!(tried, 0 | 2 | 4))
        && is(9, |system| matches!(system, 0..=13 | 255))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, rest: &[u8]) -> Vec<u8> {
        [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], rest].concat()
    }

    #[test]
    fn every_part_of_a_header_is_passed() {
        let check = |flags: u8, rest: &[u8]| {
            let header = header(flags, rest);
            let length = header.len();
            let behind = [header.as_slice(), b"deflated"].concat();
            assert_eq!(Header::of(&behind), Header::Whole(length), "flags {flags}");
            for short in 0..length {
                assert_eq!(Header::of(&behind[..short]), Header::Short, "flags {flags}, {short}");
            }
        };
        check(0, b"");
        check(1, b"");
        check(4, b"\x02\0ab");
        check(8, b"a.log\0");
        check(16, b"what it is\0");
        check(4 | 8 | 16, b"\x02\0aba.log\0what it is\0");
        let sum = crc32(0, &header(2 | 8, b"a.log\0")).to_le_bytes();
        check(2 | 8, &[b"a.log\0", &sum[..2]].concat());
    }

    #[test]
    fn what_is_no_header_is_none() {
        let check = |bytes: &[u8]| assert_eq!(Header::of(bytes), Header::None, "{bytes:?}");
        check(b"plain");
        check(&[0x1f, 0x8b, 7]);
        check(&header(0x20, b""));
        check(&header(2, b"no"));
        check(&header(8, &[b'x'; BYTES_MAX]));
    }

    #[test]
    fn a_header_is_suspected_as_soon_as_it_may_be_one() {
        let check = |bytes: &[u8], expect: Option<usize>| assert_eq!(suspect(bytes), expect);
        check(b"some text", None);
        check(&[1, 0x1f], Some(1));
        check(&[0x1f, 0x1f, 0x8b], Some(1));
        check(&[&[0x1f, 0x8b, 9], header(0, b"x").as_slice()].concat(), Some(3));
        check(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 1, 3], None);
        check(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 99], None);
    }
}
