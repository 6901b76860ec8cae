//! Bytes of a stream that belong to no member, and the way to the next one.

use std::io::{self, BufRead, ErrorKind};

use super::scout::Next;
use super::{Gzip, State};

/// So many bytes behind a damage are given, up to the next member. They are kept in memory until it
/// is known that there is one.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// A stretch of such bytes.
pub struct Foreign {
    reason: String,
    is_torn: bool,
    bytes: Bytes,
}

enum Bytes {
    /// All of them, and how many were given.
    Known(Vec<u8>, usize),
    /// Those before the next member, as they come.
    Coming,
}

impl Foreign {
    /// What stands behind whole members.
    pub fn behind_members(from: u64) -> Self {
        let reason = format!(
            "what follows byte {from} of the compressed form belongs to no gzip member; reading \
             goes on at the next one"
        );
        Self { reason, is_torn: false, bytes: Bytes::Coming }
    }

    /// What cannot be inflated of a member.
    pub fn damaged(start: u64, from: u64) -> Self {
        let reason = format!(
            "the gzip member that begins at byte {start} of the compressed form is damaged at byte \
             {from}; reading goes on at the next one"
        );
        Self { reason, is_torn: true, bytes: Bytes::Known(Vec::new(), 0) }
    }

    /// What there is of the last part of a member before another one begins.
    pub fn cut_off(start: u64, bytes: Vec<u8>) -> Self {
        let reason = format!(
            "the gzip member that begins at byte {start} of the compressed form was not finished \
             before the next one begins"
        );
        Self { reason, is_torn: true, bytes: Bytes::Known(bytes, 0) }
    }

    /// A checksum that is wrong.
    pub fn wrong_sum(start: u64, bytes: Vec<u8>) -> Self {
        let reason = format!(
            "the checksum of the gzip member that begins at byte {start} of the compressed form \
             is wrong: what it holds may be damaged"
        );
        Self { reason, is_torn: false, bytes: Bytes::Known(bytes, 0) }
    }

    /// A sentence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the text before ended too early.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }
}

impl Gzip {
    /// Gives what belongs to no member: at least a byte, unless it has ended or there is no room.
    ///
    /// # Errors
    /// Unexpected end: what comes next may be a member. Else: the stream cannot be read.
    pub fn read_foreign(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let State::Foreign(foreign) = &mut self.state else { return Ok(0) };
        if into.is_empty() {
            return Ok(0);
        }
        let bytes = match &mut foreign.bytes {
            Bytes::Known(bytes, given) => {
                let length = into.len().min(bytes.len() - *given);
                into[..length].copy_from_slice(&bytes[*given..*given + length]);
                *given += length;
                if length == 0 {
                    self.state = State::Between;
                    self.text_from = self.given;
                }
                length
            }
            Bytes::Coming => match self.ahead()? {
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

    /// Looks for a member behind a damage.
    pub(super) fn find_next(&mut self, mut foreign: Foreign) -> io::Result<State> {
        let Bytes::Known(kept, _) = &mut foreign.bytes else { return Ok(State::Foreign(foreign)) };
        loop {
            match self.ahead()? {
                Next::Bytes(bytes) => {
                    let room = KEPT_BYTES_MAX - kept.len();
                    kept.extend_from_slice(&self.input.held()[..bytes.min(room)]);
                    self.input.consume(bytes);
                }
                Next::Member => return Ok(State::Foreign(foreign)),
                // It is damaged, and nobody knows yet that it is no more than that.
                Next::Unclear | Next::Nothing => {
                    let message = "it is damaged, and no other gzip member follows".to_owned();
                    return Ok(State::Broken(message));
                }
            }
        }
    }
}
