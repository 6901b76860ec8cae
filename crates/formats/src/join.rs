//! Joins the lines in which a container runtime wrote one line of a program.
//!
//! Docker cuts a line into parts of 16 KiB, each an object whose `log` has no line break but for
//! the last one; CRI marks parts by `P` and the last one by `F`. The parts of one stream are one
//! record at the position of the first, whatever stands between them of the other stream; it is
//! one line of the same format, with the time of the first part.
//!
//! Where the end of a line is not there yet, everything from its first part on waits: positions
//! between parts are never given, so reading anew from any position gives the same records.
//! A line that gets too long is refused, and the rest of its parts with it; so is the rest of a
//! line that had no end when reading ended.

use arrow::array::{Array, BooleanArray, Int64Array, StringViewArray};
use arrow::compute::interleave;
use bytes::Bytes;
use contract::quantity::ByteSize;
use contract::source::Reject;
use memchr::memchr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Format;
use crate::lines::LineBatch;
use crate::named::container;
use crate::object;

/// Which lines are parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// Those of Docker's `json-file` whose `log` does not end with a line break.
    Docker,
    /// Those of containerd and CRI-O that are marked by `P`.
    Cri,
}

/// The streams of which the rest of a refused line is still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Torn {
    /// None.
    #[default]
    None,
    /// That of `stdout`.
    Stdout,
    /// That of `stderr`.
    Stderr,
    /// Both.
    Both,
}

/// The streams by number.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

impl Torn {
    fn flags(self) -> [bool; 2] {
        [matches!(self, Self::Stdout | Self::Both), matches!(self, Self::Stderr | Self::Both)]
    }

    fn of(flags: [bool; 2]) -> Self {
        match flags {
            [false, false] => Self::None,
            [true, false] => Self::Stdout,
            [false, true] => Self::Stderr,
            [true, true] => Self::Both,
        }
    }
}

/// What joining needs to know of a block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The rest of which streams is still to come there.
    pub torn: Torn,
    /// The bytes that a line may have.
    pub line_bytes_max: usize,
    /// Whether lines without their last part are records too.
    pub is_last: bool,
}

/// A block whose lines were joined.
pub struct Joined {
    /// The records, and what is refused.
    pub batch: LineBatch,
    /// Where the first line begins whose end is not there yet.
    pub waits_at: Option<i64>,
    /// The rest of which streams is still to come there, or behind the block.
    pub torn: Torn,
}

/// Lines of two streams may stand between each other's parts so far, in times of the limit of one.
const MIXED_LIMITS: i64 = 8;

/// The parts of a line, by rows.
struct Parts {
    /// Where the first one begins.
    position: i64,
    /// Where it was decided what becomes of them.
    decided_at: i64,
    rows: Vec<usize>,
    /// The streams that were torn before the first one.
    torn: [bool; 2],
}

/// What was found up to a row.
#[derive(Default)]
struct Found {
    /// Lines whose end was not seen yet, by stream.
    open: [Option<Parts>; 2],
    /// Since where some line was always open.
    mixed_since: Option<i64>,
    /// Whole lines.
    made: Vec<Parts>,
    /// Lines that are refused before their end came.
    given_up: Vec<Parts>,
    /// The streams of which the rest of such a line is still to come.
    torn: [bool; 2],
    /// Parts that belong to lines that were given up before.
    rest: Vec<usize>,
}

impl Found {
    fn part(&mut self, row: usize, position: i64, (stream, partial): (usize, bool)) {
        if self.torn[stream] {
            self.torn[stream] = partial;
            self.rest.push(row);
            return;
        }
        if !partial && self.open[stream].is_none() {
            self.whole(row, position);
            return;
        }
        self.mixed_since.get_or_insert(position);
        let begun = Parts { position, decided_at: position, rows: Vec::new(), torn: self.torn };
        self.open[stream].get_or_insert(begun).rows.push(row);
        if !partial && let Some(parts) = self.open[stream].take() {
            self.made.push(Parts { decided_at: position, ..parts });
        }
    }

    fn whole(&mut self, row: usize, position: i64) {
        let (rows, torn) = (vec![row], self.torn);
        self.made.push(Parts { position, decided_at: position, rows, torn });
    }

    /// Gives up the open lines for which it is time at a position.
    fn give_up(&mut self, at: i64, is_time: impl Fn(&Parts) -> bool) {
        for (stream, open) in self.open.iter_mut().enumerate() {
            if let Some(parts) = open.take_if(|parts| is_time(parts)) {
                self.torn[stream] = true;
                self.given_up.push(Parts { decided_at: at, ..parts });
            }
        }
        if self.open.iter().all(Option::is_none) {
            self.mixed_since = None;
        }
    }

    /// Takes open lines as they are: nothing follows, or something else does. Should their rest
    /// come after all, it is no line of its own.
    fn interrupt(&mut self, at: i64) {
        for (stream, open) in self.open.iter_mut().enumerate() {
            let Some(parts) = open.take() else { continue };
            self.torn[stream] = true;
            self.made.push(Parts { decided_at: at, ..parts });
        }
        self.mixed_since = None;
    }

    /// Where the next block must begin, with the torn streams there: no record that is given may
    /// have a part behind it.
    fn wait(&mut self) -> Option<(i64, [bool; 2])> {
        let first = self.open.iter().flatten().min_by_key(|parts| parts.position)?;
        let mut at = (first.position, first.torn);
        let mut others: Vec<_> = self.made.iter().chain(&self.given_up).collect();
        others.sort_by_key(|parts| std::cmp::Reverse(parts.position));
        for parts in others {
            if parts.position < at.0 && parts.decided_at >= at.0 {
                at = (parts.position, parts.torn);
            }
        }
        Some(at)
    }
}

impl Join {
    /// How the lines of a format are joined; none where each is whole.
    pub fn of(format: Format) -> Option<Self> {
        match format {
            Format::Docker => Some(Self::Docker),
            Format::Cri => Some(Self::Cri),
            _ => None,
        }
    }

    /// The word in a pipeline file.
    pub fn name(self) -> &'static str {
        self.format().name()
    }

    /// Joins the lines of a block.
    pub fn apply(self, batch: LineBatch, block: Block) -> Joined {
        let mut found = self.find(&batch, block);
        if block.is_last {
            found.interrupt(i64::MAX);
        }
        let wait = found.wait();
        let waits_at = wait.map(|(at, _)| at);
        let torn = Torn::of(wait.map_or(found.torn, |(_, torn)| torn));
        if found.made.len() == batch.text.len() && found.given_up.is_empty() {
            return Joined { batch, waits_at, torn };
        }
        found.made.retain(|parts| waits_at.is_none_or(|at| parts.position < at));
        found.made.sort_by_key(|parts| parts.position);
        let overlong = found.given_up.iter().map(|parts| {
            overlong(parts.position, &self.text_of(&batch, &parts.rows), block.line_bytes_max)
        });
        let rest = found.rest.iter().map(|row| {
            let reason = "continuation of a line that was already read".to_owned();
            reject(batch.positions.value(*row), reason, bytes_of(&batch, *row))
        });
        let rejects: Vec<_> = overlong.chain(rest).collect();
        let mut batch = self.rebuilt(batch, &found.made);
        batch.rejects.extend(rejects);
        batch.rejects.sort_by_key(|reject| reject.position);
        Joined { batch, waits_at, torn }
    }

    fn find(self, batch: &LineBatch, block: Block) -> Found {
        let limit = block.line_bytes_max as i64;
        let mut found = Found { torn: block.torn.flags(), ..Found::default() };
        let mut gaps = batch.gaps.iter().map(|gap| gap.position).peekable();
        let mut rejects = batch.rejects.iter().map(|reject| reject.position).peekable();
        for row in 0..batch.text.len() {
            let (position, text) = (batch.positions.value(row), batch.text.value(row));
            // A line that is too long itself interrupts what it stands in.
            while let Some(at) = rejects.next_if(|reject| *reject < position) {
                found.give_up(at, |_| true);
            }
            while let Some(at) = gaps.next_if(|gap| *gap < position) {
                found.interrupt(at);
            }
            match self.part(text) {
                Some(part) => found.part(row, position, part),
                None => found.whole(row, position),
            }
            let end = position + text.len() as i64;
            let is_mixed = found.mixed_since.is_some_and(|at| end - at > limit * MIXED_LIMITS);
            found.give_up(position, |parts| is_mixed || end - parts.position > limit);
        }
        rejects.for_each(|at| found.give_up(at, |_| true));
        gaps.for_each(|at| found.interrupt(at));
        found
    }

    fn format(self) -> Format {
        match self {
            Self::Docker => Format::Docker,
            Self::Cri => Format::Cri,
        }
    }

    /// The number of a line's stream, and whether it goes on; none for any other line.
    fn part(self, line: &str) -> Option<(usize, bool)> {
        let envelope = container::open(self.format(), line).ok()?;
        let stream = STREAMS.iter().position(|stream| *stream == envelope.stream)?;
        Some((stream, envelope.partial))
    }

    /// The batch with these lines as its rows.
    fn rebuilt(self, mut batch: LineBatch, made: &[Parts]) -> LineBatch {
        let mut texts = Vec::new();
        let mut flags = Vec::new();
        let mut places = Vec::with_capacity(made.len());
        for line in made {
            if let [row] = line.rows.as_slice() {
                places.push((0, *row));
                continue;
            }
            let bytes = self.text_of(&batch, &line.rows);
            let text = String::from_utf8_lossy(&bytes);
            places.push((1, texts.len()));
            flags.push(matches!(text, std::borrow::Cow::Owned(_)));
            texts.push(text.into_owned());
        }
        let joined = StringViewArray::from_iter_values(texts);
        let flags = BooleanArray::from(flags);
        let of_rows = "the places are rows of these two columns of one type";
        let text = interleave(&[&batch.text, &joined], &places).expect(of_rows);
        let lossy = interleave(&[&batch.lossy, &flags], &places).expect(of_rows);
        let positions: Vec<i64> = made.iter().map(|line| line.position).collect();
        batch.text = text.as_any().downcast_ref().cloned().expect(of_rows);
        batch.lossy = lossy.as_any().downcast_ref().cloned().expect(of_rows);
        batch.positions = Int64Array::from(positions);
        batch
    }

    /// The parts of a line as one line of their format.
    fn text_of(self, batch: &LineBatch, rows: &[usize]) -> Vec<u8> {
        let parts: Vec<_> = rows.iter().map(|row| bytes_of(batch, *row)).collect();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Vec::new() };
        match self {
            Self::Cri => {
                let (head, _, _) = cri(first);
                let (_, tag, _) = cri(last);
                let contents = parts.iter().map(|part| cri(part).2);
                [head, tag, b" "].into_iter().chain(contents).flatten().copied().collect()
            }
            Self::Docker => {
                let log = |part: &&[u8]| {
                    let text = std::str::from_utf8(part).ok()?;
                    log_of(text)
                };
                let logs: Vec<_> =
                    parts.iter().filter_map(|part| Some((*part, log(part)?))).collect();
                let Some((whole, range)) = logs.first() else { return first.to_vec() };
                let inner = logs.iter().flat_map(|(part, range)| &part[range.clone()]);
                let head = whole[..range.start].iter();
                head.chain(inner).chain(&whole[range.end..]).copied().collect()
            }
        }
    }
}

/// The bytes of a line as they were read: a letter may stand half in one part and half in the
/// next, where neither is text.
fn bytes_of(batch: &LineBatch, row: usize) -> &[u8] {
    let text = batch.text.value(row).as_bytes();
    if !batch.lossy.value(row) {
        return text;
    }
    let at = batch.offset(batch.positions.value(row));
    let Some(rest) = batch.consumed.get(at..) else { return text };
    let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The time and the stream with the blanks behind them, the tag, and the content.
fn cri(line: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let blank = |from: usize| memchr(b' ', line.get(from..)?).map(|at| from + at);
    let tag = blank(0).and_then(|at| blank(at + 1)).map_or(line.len(), |at| at + 1);
    let end = blank(tag).unwrap_or(line.len());
    (&line[..tag], &line[tag..end], line.get(end + 1..).unwrap_or_default())
}

/// Where the text of `log` stands in an object of Docker's, without its quotes.
fn log_of(line: &str) -> Option<std::ops::Range<usize>> {
    let mut entries = Vec::with_capacity(4);
    object::read_entries(line, &mut entries).ok()?;
    let (_, value) = entries.iter().rev().find(|(key, _)| key == "log")?;
    let start = (value.as_ptr() as usize).checked_sub(line.as_ptr() as usize)?;
    let is_text = value.len() >= 2 && value.starts_with('"');
    is_text.then_some(start + 1..start + value.len() - 1)
}

fn overlong(position: i64, bytes: &[u8], line_bytes_max: usize) -> Reject {
    let limit = ByteSize(line_bytes_max as u64);
    let reason = format!("line is longer than {limit}; only its first {limit} are kept");
    reject(position, reason, &bytes[..bytes.len().min(line_bytes_max)])
}

fn reject(position: i64, reason: String, bytes: &[u8]) -> Reject {
    Reject::new(position, reason).with_original(Bytes::copy_from_slice(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert_eq, prop_oneof, proptest};

    use super::*;
    use crate::lines::{Lines, Start};

    const LIMIT: usize = 200;
    const TIME: &str = "2026-03-03T10:00:00Z";

    fn cri(stream: &str, tag: &str, content: &str) -> String {
        format!("{TIME} {stream} {tag} {content}\n")
    }

    fn docker(stream: &str, log: &str) -> String {
        format!("{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"time\":\"{TIME}\"}}\n")
    }

    fn describe(batch: &LineBatch, said: &mut Vec<String>) {
        let mut all: Vec<(i64, String)> = Vec::new();
        for row in 0..batch.text.len() {
            let mark = if batch.lossy.value(row) { "~" } else { "" };
            let text = batch.text.value(row).replace(&format!("{TIME} "), "");
            all.push((batch.positions.value(row), format!("{mark}{text}")));
        }
        for reject in &batch.rejects {
            let kept = String::from_utf8_lossy(reject.original.as_deref().unwrap_or_default());
            all.push((reject.position, format!("! {} {kept}", reject.reason)));
        }
        assert!(all.iter().all(|(position, _)| *position < batch.next), "{all:?} {}", batch.next);
        assert!(batch.positions.values().is_sorted(), "in their order");
        all.sort_by_key(|(position, _)| *position);
        said.extend(all.into_iter().map(|(position, text)| format!("{position} {text}")));
    }

    /// What comes of bytes in blocks; with `anew`, each block is read from the position that the
    /// one before gave, as after a restart.
    fn cut(join: Join, bytes: &[u8], block_bytes: usize, anew: bool) -> Vec<String> {
        let mut lines = Lines::new(LIMIT).with_join(Some(join));
        let mut said = Vec::new();
        let mut read = 0;
        while read < bytes.len() {
            let end = bytes.len().min(read + block_bytes);
            let mut block = lines.block(block_bytes);
            block.extend_from_slice(&bytes[read..end]);
            read = end;
            let batch = lines.cut(block);
            describe(&batch, &mut said);
            if anew {
                lines = Lines::resume(LIMIT, batch.next, batch.start).with_join(Some(join));
                let again = &bytes[batch.next as usize..end];
                let mut block = lines.block(again.len());
                block.extend_from_slice(again);
                let batch = lines.cut(block);
                assert!(batch.positions.is_empty() && batch.rejects.is_empty(), "nothing twice");
            }
        }
        describe(&lines.cut_last(lines.block(0)), &mut said);
        said
    }

    fn check(join: Join, bytes: &[u8], expect: &[&str]) {
        for block_bytes in 1..=bytes.len() {
            for anew in [false, true] {
                let said = cut(join, bytes, block_bytes, anew);
                assert_eq!(said, expect, "in blocks of {block_bytes} bytes, anew: {anew}");
            }
        }
    }

    #[test]
    fn parts_are_one_record_at_the_place_of_the_first() {
        let text = [
            cri("stdout", "F", "whole"),
            cri("stdout", "P", "one "),
            cri("stdout", "P", "two "),
            cri("stdout", "F", "three"),
            "no such line\n".to_owned(),
            cri("stderr", "P", "four"),
            cri("stderr", "F", ""),
        ]
        .concat();
        let expect = ["0 stdout F whole", "36 stdout F one two three", "142 no such line"];
        check(Join::Cri, text.as_bytes(), &[&expect[..], &["155 stderr F four"]].concat());
        let text = [
            docker("stdout", "one \\\""),
            docker("stdout", "two\\\\"),
            docker("stdout", "three\\n"),
            docker("stdout", "four\\n"),
        ]
        .concat();
        let one = docker("stdout", "one \\\"two\\\\three\\n");
        let four = docker("stdout", "four\\n");
        let expect = [format!("0 {}", one.trim_end()), format!("195 {}", four.trim_end())];
        check(Join::Docker, text.as_bytes(), &expect.each_ref().map(String::as_str));
    }

    #[test]
    fn parts_of_two_streams_are_never_mixed() {
        let text = [
            cri("stdout", "P", "o1 "),
            cri("stderr", "F", "e"),
            cri("stderr", "P", "e1 "),
            cri("stdout", "F", "o2"),
            cri("stderr", "F", "e2"),
        ]
        .concat();
        let expect = ["0 stdout F o1 o2", "34 stderr F e", "66 stderr F e1 e2"];
        check(Join::Cri, text.as_bytes(), &expect);
    }

    #[test]
    fn streams_that_are_mixed_for_ever_are_given_up() {
        let text = "x".repeat(40);
        let mixed = |at: usize| {
            let (first, second) =
                if at.is_multiple_of(2) { STREAMS.into() } else { ("stderr", "stdout") };
            [cri(first, "P", &text), cri(second, "F", &text)].concat()
        };
        let lines: Vec<_> = (0..40).map(mixed).collect();
        let bytes = lines.concat().into_bytes();
        let whole = cut(Join::Cri, &bytes, bytes.len(), false);
        assert!(whole.iter().any(|said| said.contains("! line is longer")), "{whole:?}");
        for block_bytes in [1, 7, 100, 1_000] {
            assert_eq!(cut(Join::Cri, &bytes, block_bytes, true), whole);
        }
    }

    #[test]
    fn a_letter_may_stand_in_two_parts() {
        let mut bytes = cri("stdout", "P", "f").into_bytes();
        bytes.insert(bytes.len() - 1, 0xc3);
        bytes.extend_from_slice(cri("stdout", "F", "r").as_bytes());
        let at = bytes.len() - 2;
        bytes.insert(at, 0xbc);
        check(Join::Cri, &bytes, &["0 stdout F f\u{fc}r"]);
    }

    #[test]
    fn parts_without_their_end_stay_as_they_are() {
        let text = [cri("stdout", "P", "a "), cri("stdout", "P", "b "), cri("stderr", "P", "c")];
        check(Join::Cri, text.concat().as_bytes(), &["0 stdout P a b ", "66 stderr P c"]);
    }

    #[test]
    fn a_line_that_gets_too_long_is_refused_with_all_of_its_parts() {
        let long = "x".repeat(70);
        let text = [
            cri("stdout", "P", &long),
            cri("stdout", "P", &long),
            cri("stdout", "P", &long),
            cri("stderr", "F", "e"),
            cri("stdout", "F", "its end"),
            cri("stdout", "F", "next"),
        ]
        .concat();
        let said = cut(Join::Cri, text.as_bytes(), text.len(), false);
        let refused = "0 ! line is longer than 200B; only its first 200B are kept";
        assert_eq!(said[0], format!("{refused} {TIME} stdout P {long}{long}"));
        let rest = "! continuation of a line that was already read";
        assert_eq!(said[1], format!("202 {rest} {}", cri("stdout", "P", &long).trim_end()));
        assert_eq!(said[2], "303 stderr F e");
        assert_eq!(said[3], format!("335 {rest} {TIME} stdout F its end"));
        assert_eq!(said[4], "373 stdout F next");
        let said: Vec<_> = said.iter().map(String::as_str).collect();
        check(Join::Cri, text.as_bytes(), &said);
    }

    #[test]
    fn a_line_that_is_too_long_itself_gives_up_what_it_interrupts() {
        let text = [
            cri("stdout", "P", "a "),
            cri("stderr", "F", &"x".repeat(300)),
            cri("stdout", "F", "b"),
            cri("stdout", "F", "c"),
        ]
        .concat();
        let said = cut(Join::Cri, text.as_bytes(), text.len(), false);
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].ends_with("stdout P a ") && said[1].contains("! line is longer"));
        assert!(said[2].contains("! continuation") && said[2].ends_with("stdout F b"), "{said:?}");
        assert!(said[3].ends_with(" stdout F c"), "{said:?}");
        let said: Vec<_> = said.iter().map(String::as_str).collect();
        check(Join::Cri, text.as_bytes(), &said);
    }

    fn line() -> impl Strategy<Value = String> {
        let content = prop_oneof!["[a-c ]{0,9}", "[a-c]{60,90}", "[a-c]{190,260}"];
        let streams = proptest::sample::select(vec!["stdout", "stderr", "other"]);
        let tags = proptest::sample::select(vec!["P", "F", "P:x", "Z"]);
        prop_oneof![
            6 => (streams, tags, content).prop_map(|(stream, tag, text)| cri(stream, tag, &text)),
            1 => "[a-z ]{0,9}\r?\n",
        ]
    }

    proptest! {
        #[test]
        fn blocks_and_restarts_change_nothing(
            lines in proptest::collection::vec(line(), 0..12),
            block_bytes in 1..700_usize,
        ) {
            let bytes = lines.concat().into_bytes();
            let whole = cut(Join::Cri, &bytes, bytes.len().max(1), false);
            prop_assert_eq!(&cut(Join::Cri, &bytes, block_bytes, false), &whole);
            prop_assert_eq!(&cut(Join::Cri, &bytes, block_bytes, true), &whole);
        }
    }

    #[test]
    fn the_note_of_a_torn_line_is_kept() {
        for torn in [Torn::Stdout, Torn::Stderr, Torn::Both] {
            let text = serde_json::to_string(&Start::Torn(torn)).expect("it is JSON");
            assert_eq!(
                serde_json::from_str::<Start>(&text).expect("it is read"),
                Start::Torn(torn)
            );
            assert_eq!(Torn::of(torn.flags()), torn);
        }
    }
}
