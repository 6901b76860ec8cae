//! A stream for tests, which comes in the pieces that they send.

use std::io::{self, Read};
use std::sync::mpsc;

/// Gives what a test sends, piece by piece, until the sender is dropped.
pub struct Pieces(pub mpsc::Receiver<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.recv().unwrap_or_default();
        into[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// Fails as only a defect of ours does.
pub struct Panicking;

impl Read for Panicking {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        panic!("a defect")
    }
}
