//! Bytes of a stream that belong to no member, and the way to the next one.

use std::io::{self, BufRead, ErrorKind};

use super::super::Compression;
use super::super::refused::{Next, Refused};
use super::{Gzip, State};

impl Gzip {
    /// Gives what belongs to no member: at least a byte, unless it has ended or there is no room.
    ///
    /// # Errors
    /// Unexpected end: what comes next may be a member. Else: the stream cannot be read.
    pub fn read_refused(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let State::Refused(refused) = &mut self.state else { return Ok(0) };
        if into.is_empty() {
            return Ok(0);
        }
        let bytes = match refused.give(into) {
            Some(length) => {
                if length == 0 {
                    self.state = State::Between;
                    self.text_from = self.given;
                }
                length
            }
            None => match self.ahead()? {
                Next::Nothing => 0,
                Next::Unclear => return Err(ErrorKind::UnexpectedEof.into()),
                Next::Member => {
                    self.state = State::Between;
                    self.text_from = self.given;
                    0
                }
                Next::Bytes(bytes) => {
                    let length = into.len().min(bytes);
                    into[..length].copy_from_slice(&self.input.held()[..length]);
                    self.input.consume(length);
                    length
                }
            },
        };
        self.before.push(&into[..bytes]);
        self.given += bytes as u64;
        Ok(bytes)
    }

    /// Looks for a member behind a damage, or behind what stands before the first one.
    pub(super) fn find_next(&mut self, mut refused: Refused) -> io::Result<State> {
        loop {
            match self.ahead()? {
                Next::Bytes(bytes) => {
                    refused.keep(&self.input.held()[..bytes]);
                    self.input.consume(bytes);
                }
                Next::Member => return Ok(State::Refused(refused)),
                Next::Unclear | Next::Nothing if !self.has_begun => {
                    return Ok(State::Broken(Compression::Gzip.is_none().to_string()));
                }
                // It is damaged, and nobody knows yet that it is no more than that.
                Next::Unclear | Next::Nothing => {
                    let message = "it is damaged, and no other gzip member follows".to_owned();
                    return Ok(State::Broken(message));
                }
            }
        }
    }
}
