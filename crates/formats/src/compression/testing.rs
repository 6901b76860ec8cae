//! Compressed bytes for tests.

use std::io::{Read, Write};

use super::Compression;

/// Every compression that there is.
pub const COMPRESSIONS: [Compression; 4] = super::ALL;

/// A member that holds a text.
pub fn member(compression: Compression, text: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let outcome = match compression {
        Compression::None => return text.to_vec(),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(&mut packed, level);
            encoder.write_all(text).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Zstd => {
            // As `zstd` does it: without a checksum damage may pass for text.
            let mut encoder = zstd::Encoder::new(&mut packed, 1).expect("an encoder");
            let outcome = encoder.include_checksum(true).and_then(|()| encoder.write_all(text));
            outcome.and_then(|()| encoder.finish().map(drop))
        }
        Compression::Bzip2 => {
            let level = bzip2::Compression::fast();
            bzip2::read::BzEncoder::new(text, level).read_to_end(&mut packed).map(drop)
        }
        Compression::Xz => {
            liblzma::read::XzEncoder::new(text, 0).read_to_end(&mut packed).map(drop)
        }
    };
    outcome.expect("memory takes it");
    packed
}
