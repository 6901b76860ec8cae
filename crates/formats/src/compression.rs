//! Recognises compressed streams by their first bytes and reads them decompressed.
//!
//! Several gzip members or zstd frames behind one another are one stream. A stream that ends in
//! the middle gives everything before that, then [`std::io::ErrorKind::UnexpectedEof`].

use std::io::{self, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, any number of members.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// How many bytes [`Compression::of`] wants to see.
const MAGIC_BYTES: usize = 4;

impl Compression {
    /// Tells by the first four bytes; fewer only if the stream has no more.
    pub fn of(first: &[u8]) -> Self {
        if first.starts_with(GZIP_MAGIC) {
            Self::Gzip
        } else if first.starts_with(ZSTD_MAGIC) {
            Self::Zstd
        } else {
            Self::None
        }
    }

    /// Reads so much of a stream's beginning as the decision needs; returns the stream whole.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn detect<R: Read>(mut stream: R) -> io::Result<(Self, Whole<R>)> {
        let mut first = Vec::with_capacity(MAGIC_BYTES);
        while GZIP_MAGIC.starts_with(&first) || ZSTD_MAGIC.starts_with(&first) {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => first.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if first == GZIP_MAGIC || first == ZSTD_MAGIC {
                break;
            }
        }
        Ok((Self::of(&first), Cursor::new(first).chain(stream)))
    }

    /// Reads a stream decompressed.
    ///
    /// # Errors
    /// There is no memory for the decoder.
    pub fn decode<'a, R: Read + Send + 'a>(
        self,
        stream: R,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(stream),
            Self::Gzip => Box::new(MultiGzDecoder::new(stream)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(stream)?),
        })
    }
}

/// A stream whose first bytes were looked at.
pub type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn zstd(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).expect("memory takes it")
    }

    fn check(stream: &[u8], compression: Compression, expect: &str) {
        let (detected, whole) = Compression::detect(stream).expect("memory can be read");
        assert_eq!(detected, compression);
        let mut text = String::new();
        let mut decoded = detected.decode(whole).expect("a decoder");
        decoded.read_to_string(&mut text).expect("a whole stream");
        assert_eq!(text, expect);
    }

    #[test]
    fn streams_are_told_by_their_first_bytes() {
        check(b"", Compression::None, "");
        check(b"(", Compression::None, "(");
        check(b"plain", Compression::None, "plain");
        check(&[gzip("one "), gzip("two")].concat(), Compression::Gzip, "one two");
        check(&[zstd("one "), zstd("two")].concat(), Compression::Zstd, "one two");
    }

    #[test]
    fn a_torn_stream_gives_what_stands_before_the_tear() {
        for compressed in [gzip(&"line\n".repeat(50_000)), zstd(&"line\n".repeat(50_000))] {
            let torn = &compressed[..compressed.len() - 3];
            let (compression, whole) = Compression::detect(torn).expect("memory can be read");
            let mut text = Vec::new();
            let mut decoded = compression.decode(whole).expect("a decoder");
            let error = decoded.read_to_end(&mut text).expect_err("the end is missing");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(text.starts_with(b"line\n"));
        }
    }
}
