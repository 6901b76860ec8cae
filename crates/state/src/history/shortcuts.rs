//! What spares sources work that go on from the positions of splits: each in a file of its own.
//!
//! Such a file is written once, before the first checkpoint whose splits name it. Nothing depends
//! on it: what is gone or damaged was an aid.

use std::sync::Arc;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, KeptShortcut, Position, Result, Shortcut, failpoint};
use futures::{StreamExt, TryStreamExt, stream};
use tracing::debug;

use super::History;
use crate::Checkpoint;
use crate::checkpoint::NamedFile;

/// The folder of shortcuts, in that of the pipeline.
pub(crate) const SHORTCUTS: &str = "_inflate";
/// How the names of their files begin.
pub(super) const SHORTCUT: &str = "inflate-";
/// How hard they are compressed.
const LEVEL: i32 = 3;
/// The most that one may hold, compressed or not.
const BYTES_MAX: usize = 1 << 20;
/// How many are written side by side.
const PUTS_MAX: usize = 8;

impl History {
    /// Keeps the shortcuts of a checkpoint that stand nowhere yet, and lets its splits name them.
    /// Who has no lease makes no names, and goes on without.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub(super) async fn set_shortcuts_apart(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let loose = checkpoint.roster.loose_shortcuts();
        if loose.is_empty() {
            return Ok(());
        }
        failpoint::reach("inflate.before").await?;
        let kept = loose.into_iter().map(|(number, shortcut)| async move {
            self.keep_shortcut(&shortcut).await.map(|kept| (number, kept))
        });
        let kept: Vec<_> = stream::iter(kept).buffer_unordered(PUTS_MAX).try_collect().await?;
        failpoint::reach("inflate.after").await?;
        for (number, kept) in kept {
            checkpoint.roster.keep_shortcut(number, kept);
        }
        Ok(())
    }

    async fn keep_shortcut(&self, shortcut: &Shortcut) -> Result<Option<KeptShortcut>> {
        let Some(namer) = &self.namer else { return Ok(None) };
        if shortcut.content.is_empty() || shortcut.content.len() > BYTES_MAX {
            return Ok(None);
        }
        let packed = zstd::bulk::compress(&shortcut.content, LEVEL);
        let packed = packed.bug("a shortcut is not compressed")?;
        let NamedFile { name, bytes } = namer.keep(self, SHORTCUTS, packed.into()).await?;
        Ok(Some(KeptShortcut { name: name.into(), bytes }))
    }

    /// A position with the content of its shortcut; without any where that is not to be had.
    pub async fn with_shortcut(&self, position: Position) -> Position {
        let Some(shortcut) = &position.shortcut else { return position };
        let Some(kept) = shortcut.kept.as_ref().filter(|_| shortcut.content.is_empty()) else {
            return position;
        };
        let fetched = self.fetch(kept).await;
        let content = fetched.inspect_err(|error| {
            debug!(error = error.chain(), "going on without a shortcut");
        });
        let with = |content| Arc::new(Shortcut { content, ..Shortcut::clone(shortcut) });
        let shortcut = content.ok().map(with);
        position.with_shortcut(shortcut)
    }

    async fn fetch(&self, kept: &KeptShortcut) -> Result<Bytes> {
        let path = self.path_of_file(SHORTCUTS, &kept.name);
        let packed = self.bytes(&path).await?;
        let damaged = || Error::external(format!("\"{path}\" is damaged"));
        let file = NamedFile { name: kept.name.as_ref().to_owned(), bytes: kept.bytes };
        if !file.holds(&packed) {
            return Err(damaged());
        }
        let content = zstd::bulk::decompress(&packed, BYTES_MAX);
        content.map(Bytes::from).map_err(|error| damaged().because(error))
    }
}
