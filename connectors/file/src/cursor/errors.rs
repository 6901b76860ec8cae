//! What can go wrong while a file is read, and the way out.

use std::io::{self, ErrorKind};
use std::path::Path;

use contract::Error;

use super::Stop;
use crate::source::LOOKED_FOR;
use crate::stream::is_damage;

/// A file cannot be read, or is damaged.
pub(super) fn unreadable(path: &Path, at: i64, error: io::Error) -> Error {
    let message = format!("could not read file {path:?} beyond byte {at} (decompressed)");
    match (is_damage(&error), error.kind()) {
        (true, ErrorKind::QuotaExceeded) => Error::external(message)
            .because(error)
            .hint("raise `zstd_window_max`, up to 2GiB; so much memory is taken while it is read"),
        (true, ErrorKind::Unsupported) => Error::external(message)
            .because(error)
            .hint("unpack it, or leave it out (setting `exclude`)"),
        (true, ErrorKind::UnexpectedEof) => Error::external(message).because(error).hint(
            "its compressed end is missing: complete it, or leave it out (setting `exclude`)",
        ),
        (true, _) => Error::external(message).because(error).hint(
            "its compressed form is damaged: restore it, or leave it out (setting `exclude`)",
        ),
        (false, _) => Error::transient(message).because(error),
    }
}

/// A file ends before a place that it reached once.
pub(super) fn too_short(path: &Path, at: i64, stop: Stop) -> Error {
    let message = format!("file {path:?} ends before byte {at} (decompressed)");
    Error::external(message).hint(stop.way_out())
}

/// A file holds something else than what was read of it.
pub(super) fn changed(path: &Path, at: i64, stop: Stop) -> Error {
    let message =
        format!("file {path:?} does not hold any more what was read of it up to byte {at}");
    Error::external(message).hint(stop.way_out())
}

impl Stop {
    /// What to do about a file that lost what was to be read.
    fn way_out(self) -> &'static str {
        match self {
            Self::Never | Self::AtEnd => LOOKED_FOR,
            Self::At(_) | Self::Before(_) => {
                "it was truncated or rewritten: restore it, or go on without the rest by \
                 `--accept-loss`"
            }
        }
    }
}
