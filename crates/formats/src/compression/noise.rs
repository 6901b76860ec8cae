//! Streams that begin with bytes which are neither text nor the beginning of a compressed form, and
//! have members of one behind them: what damage leaves.

use super::{Compression, foreign, gzip, members};
use crate::encoding::Encoding;

/// So many first bytes of a stream are looked through for a member.
pub const NOISE_BYTES_MAX: usize = 64 << 10;
/// So many of its bytes show whether a stream begins as text.
pub const SHOWN_BYTES: usize = 64;
/// Among so many bytes of noise one, at least, is a sign that no text has.
const BYTES_A_SIGN: usize = 32;

impl Compression {
    /// Tells by the first bytes of a file, and by its name where these are no text: `a.gz`, and
    /// `a.gz.1` once it was rotated.
    pub fn of_named(first: &[u8], name: &str) -> Self {
        match Self::of(first) {
            Self::None if !is_text(first) => Self::by_name(name),
            found => found,
        }
    }

    fn by_name(name: &str) -> Self {
        let mut parts = name.split('.').skip(1).filter_map(|part| part.split(['-', '_']).next());
        let found = parts.find_map(|part| match part {
            "gz" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            "bz2" => Some(Self::Bzip2),
            "xz" => Some(Self::Xz),
            _ => None,
        });
        found.unwrap_or(Self::None)
    }

    /// The compression of the first member among bytes that are no text.
    pub(super) fn of_noise(bytes: &[u8]) -> Self {
        let place = |one: Self| match one {
            Self::Gzip => gzip::first_member(bytes),
            _ => members::first_member(one, bytes),
        };
        let found = super::ALL.into_iter().filter_map(|one| Some((place(one)?, one)));
        found.min_by_key(|(place, _)| *place).map_or(Self::None, |(_, one)| one)
    }
}

/// Whether all that is there may be the beginning of a log.
fn is_text(first: &[u8]) -> bool {
    let is_none = |byte: &u8| is_sign(*byte) || *byte == 0;
    Encoding::of(first) != Encoding::Utf8
        || foreign::archive(first).is_some()
        || !first.iter().any(is_none)
}

/// Whether a stream certainly does not begin as a log does, in whatever encoding: so many of its
/// bytes stand in none. Of fewer than are shown nothing is said.
pub fn is_noise(first: &[u8]) -> bool {
    let signs = first.iter().filter(|byte| is_sign(**byte)).count();
    first.len() >= SHOWN_BYTES
        && Encoding::of(first) == Encoding::Utf8
        && foreign::archive(first).is_none()
        && signs > first.len() / BYTES_A_SIGN
        && std::str::from_utf8(first).is_err_and(|error| error.error_len().is_some())
}

/// Whether the few bytes that are there may be noise, so that more are waited for.
pub fn may_be_noise(first: &[u8]) -> bool {
    let is_high = |byte: &&u8| **byte >= 0x80;
    let is_bad = std::str::from_utf8(first).is_err_and(|error| error.error_len().is_some());
    Encoding::of(first) == Encoding::Utf8
        && (first.iter().any(|byte| is_sign(*byte) || *byte == 0)
            || (is_bad && 4 * first.iter().filter(is_high).count() > first.len()))
}

/// Characters that no log has: not what parts columns or lines, colours text, or is left by holes.
fn is_sign(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, 0 | 1 | b'\t'..=b'\r' | 0x1b..=0x1f) || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::super::testing::{COMPRESSIONS, member};
    use super::*;

    /// What damage may leave: anything.
    fn noise(length: usize) -> Vec<u8> {
        let mut number = 7u32;
        let mut next = || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_name_tells_of_what_is_no_text() {
        let check = |first: &[u8], name: &str, expect: Compression| {
            assert_eq!(Compression::of_named(first, name), expect, "{name} {first:?}");
        };
        let noise = noise(100);
        for (name, expect) in [
            ("a.log.gz", Compression::Gzip),
            ("a.gz.1", Compression::Gzip),
            ("a.gz-20261129", Compression::Gzip),
            ("a.zst", Compression::Zstd),
            ("a.log.1.bz2", Compression::Bzip2),
            ("a.xz", Compression::Xz),
            ("a.log", Compression::None),
            ("gz", Compression::None),
        ] {
            check(&noise, name, expect);
            check(&[0; 100], name, expect);
            check(b"a line\tof text\n", name, Compression::None);
            check(&member(Compression::Xz, b"text"), name, Compression::Xz);
            check(b"PK\x03\x04", name, Compression::None);
        }
    }

    #[test]
    fn members_are_found_behind_noise_and_in_no_text() {
        for compression in COMPRESSIONS {
            let packed = member(compression, &b"a line\n".repeat(100));
            let check = |before: &[u8], is_found: bool| {
                let bytes = [before, packed.as_slice()].concat();
                let expect = if is_found { compression } else { Compression::None };
                let found = match is_noise(&bytes[..SHOWN_BYTES]) {
                    true => Compression::of_noise(&bytes),
                    false => Compression::None,
                };
                assert_eq!(found, expect, "{} bytes", before.len());
            };
            check(&noise(64), true);
            check(&noise(5000), true);
            check(
                "8=FIX.4.4\u{1}9=148\u{1}35=D\u{1}34=1080\u{1}49=A\u{1}\n".repeat(3).as_bytes(),
                false,
            );
            check(&b"caf\xe9 und \x1b[31mrot\x1b[0m \xfc\xfc\xfc\n".repeat(9), false);
            check(&[0; 5000], false);
        }
        assert_eq!(Compression::of_noise(&noise(5000)), Compression::None);
    }
}
