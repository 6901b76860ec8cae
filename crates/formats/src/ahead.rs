//! Fetches what a file's reader will want next, so that no read waits for a disk.
//!
//! The system guesses too, but a hundred times shorter: a log of yesterday, which is on the disk
//! alone, would be read at the pace of single answers.

use std::fs::File;

/// How far a file was fetched ahead of its reader.
#[derive(Debug, Default)]
pub struct Ahead {
    #[cfg(target_os = "linux")]
    fetched_to: u64,
}

impl Ahead {
    /// To be called before each read of a block: asks the system for what stands behind the
    /// file's offset, up to so many bytes. Returns at once; whether the system does it is its own
    /// affair.
    #[cfg(target_os = "linux")]
    pub fn fetch(&mut self, mut file: &File, bytes: u64) {
        use std::io::Seek;
        use std::num::NonZeroU64;

        /// So little the system fetches by itself.
        const BYTES_MIN: u64 = 512 << 10;
        /// It is asked again each time one part in so many was read.
        const STEPS: u64 = 4;
        if bytes < BYTES_MIN {
            return;
        }
        let Ok(offset) = file.stream_position() else { return };
        let to = offset.saturating_add(bytes);
        let from = self.fetched_to.clamp(offset, to);
        if to - from < bytes / STEPS {
            return;
        }
        let length = NonZeroU64::new(to - from);
        let _ = rustix::fs::fadvise(file, from, length, rustix::fs::Advice::WillNeed);
        self.fetched_to = to;
    }

    /// Elsewhere the system's own guess has to do.
    #[cfg(not(target_os = "linux"))]
    pub fn fetch(&mut self, _: &File, _: u64) {}
}
