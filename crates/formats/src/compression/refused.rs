//! Bytes of a compressed stream that belong to none of its members, and what comes behind them.

/// So many bytes behind a damage are given, up to the next member. They are kept in memory until it
/// is known that there is one.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many bytes in which no member begins.
    Bytes(usize),
    /// A member.
    Member,
    /// What may be a member once more bytes follow.
    Unclear,
    /// No byte.
    Nothing,
}

/// What a trial of bytes that may be a member showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are.
    Member,
    /// They are not.
    None,
    /// More bytes must tell.
    Unclear,
}

/// A stretch of bytes that are refused.
pub struct Refused {
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

impl Refused {
    /// What stands behind whole members, as it comes.
    pub fn behind_members(member: &str, from: u64) -> Self {
        Self { bytes: Bytes::Coming, ..Self::before_members(member, from) }
    }

    /// What stands before the first member.
    pub fn before_members(member: &str, from: u64) -> Self {
        let reason = format!(
            "what follows byte {from} of the compressed form belongs to no {member}; reading goes \
             on at the next one"
        );
        Self { reason, is_torn: false, bytes: Bytes::Known(Vec::new(), 0) }
    }

    /// What cannot be decompressed of a member.
    pub fn damaged(member: &str, start: u64, from: u64) -> Self {
        let reason = format!(
            "the {member} that begins at byte {start} of the compressed form is damaged at byte \
             {from}; reading goes on at the next one"
        );
        Self { reason, is_torn: true, bytes: Bytes::Known(Vec::new(), 0) }
    }

    /// What there is of the last part of a member before another one begins.
    pub fn cut_off(member: &str, start: u64, bytes: Vec<u8>) -> Self {
        let reason = format!(
            "the {member} that begins at byte {start} of the compressed form was not finished \
             before the next one begins"
        );
        Self { reason, is_torn: true, bytes: Bytes::Known(bytes, 0) }
    }

    /// A checksum that is wrong.
    pub fn wrong_sum(member: &str, start: u64, bytes: Vec<u8>) -> Self {
        let reason = format!(
            "the checksum of the {member} that begins at byte {start} of the compressed form is \
             wrong: what it holds may be damaged"
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

    /// Adds bytes, as far as so many are kept.
    pub fn keep(&mut self, bytes: &[u8]) {
        if let Bytes::Known(kept, _) = &mut self.bytes {
            let room = KEPT_BYTES_MAX - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Gives some of those that are known, none at their end; nothing if they are yet to come.
    pub fn give(&mut self, into: &mut [u8]) -> Option<usize> {
        let Bytes::Known(bytes, given) = &mut self.bytes else { return None };
        let length = into.len().min(bytes.len() - *given);
        into[..length].copy_from_slice(&bytes[*given..*given + length]);
        *given += length;
        Some(length)
    }
}
