//! What steps made of many rows in an epoch: kept before the epoch is decided, so that a replay
//! takes it from here and makes none of it again.
//!
//! A short copy stands in the checkpoint itself, any other in a file that the checkpoint names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result, failpoint};

use super::History;
use crate::checkpoint::Copied;

/// Bytes of a copy, compressed, that stand in the checkpoint itself.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// How hard it is compressed.
const LEVEL: i32 = 3;
/// The most that a copy may hold once it is unpacked.
const BYTES_MAX: usize = 4 << 30;
/// The folder of copies, in that of the pipeline.
pub(crate) const COPIES: &str = "_copy";

impl History {
    /// Keeps what a step made, durable before the checkpoint that names it.
    ///
    /// # Errors
    /// Retryable External: the store does not answer. NotOwner: the lease is somebody else's.
    pub async fn keep_copy(&self, content: &[u8]) -> Result<Copied> {
        failpoint::reach("copy.before").await?;
        let packed = zstd::bulk::compress(content, LEVEL).bug("a copy is not compressed")?;
        let copied = match &self.namer {
            Some(namer) if packed.len() > INLINE_BYTES_MAX => {
                Copied::File(namer.keep(self, COPIES, packed.into()).await?)
            }
            _ => Copied::Inline(STANDARD.encode(packed)),
        };
        failpoint::reach("copy.after").await?;
        Ok(copied)
    }

    /// What [`History::keep_copy`] kept.
    ///
    /// # Errors
    /// External: it is gone or damaged, or the store does not answer (retryable).
    pub async fn copy(&self, copied: &Copied) -> Result<Bytes> {
        let damaged = || Error::external("what a step made is damaged in its checkpoint");
        let packed: Bytes = match copied {
            Copied::Inline(text) => {
                STANDARD.decode(text).map_err(|error| damaged().because(error))?.into()
            }
            Copied::File(file) => {
                let path = self.path_of_file(COPIES, &file.name);
                let bytes = self.bytes(&path).await?;
                if !file.holds(&bytes) {
                    return Err(Error::external(format!("\"{path}\" is damaged")));
                }
                bytes
            }
        };
        let mut content = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(&*packed);
        let decoder = decoder.map_err(|error| damaged().because(error))?;
        let mut limited = std::io::Read::take(decoder, BYTES_MAX as u64);
        std::io::Read::read_to_end(&mut limited, &mut content)
            .map_err(|error| damaged().because(error))?;
        Ok(content.into())
    }
}
