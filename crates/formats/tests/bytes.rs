//! Any bytes, packed and encoded in any way, cut in any blocks and read on from any place: each of
//! them stands in exactly one record, refused record or gap, or only frames them.
//!
//! `LOGMILL_FUZZ_CASES` says how many inputs are tried, `LOGMILL_FUZZ_SEED` with which to begin; a
//! failure names the seed that repeats it. `cargo xtask fuzz` does this with a released build.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{self, Read, Write};

use contract::source::Reject;
use formats::compression::{Compression, Limits};
use formats::decoded::{Decoded, Reached};
use formats::encoding::{self, Encoding, Growth};
use formats::lines::{Gap, HOLE_BYTES_MIN, LineBatch, Lines, Start};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const LINE_BYTES_MAX: usize = 24;
const CASES: u64 = 2_000;

/// A stream and what is known of it.
struct Case {
    compression: Compression,
    stream: Vec<u8>,
    text: Vec<u8>,
    /// What comes out of it, in order: text, and what is none.
    parts: Vec<(bool, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Record(String),
    Refused(Reject),
    Gap(u64),
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    items: Vec<(i64, Item)>,
    error: Option<io::ErrorKind>,
}

#[test]
fn each_byte_stands_in_one_record_refused_record_or_gap() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (first, cases) = (number("LOGMILL_FUZZ_SEED", 0), number("LOGMILL_FUZZ_CASES", CASES));
    for seed in first..first + cases {
        let outcome = std::panic::catch_unwind(|| check(&mut SmallRng::seed_from_u64(seed)));
        if outcome.is_err() {
            panic!("LOGMILL_FUZZ_SEED={seed} LOGMILL_FUZZ_CASES=1 repeats it");
        }
    }
    println!("bytes of streams: {cases} inputs from seed {first} on, 0 failures");
}

fn check(random: &mut SmallRng) {
    let case = case(random);
    let whole = read(&case, &case.stream, None);
    assert_eq!(whole.error, None);
    check_coverage(&case, &whole);
    for _ in 0..2 {
        assert_eq!(read(&case, &case.stream, Some(random)), whole);
    }
    let torn = &case.stream[..random.random_range(0..=case.stream.len())];
    if case.compression != Compression::None {
        let outcome = read(&case, torn, Some(random));
        if outcome.error.is_some() {
            assert_eq!(outcome.items, whole.items[..outcome.items.len()], "before the tear");
        }
    }
    check_growing(&case, torn);
    let mut damaged = case.stream.clone();
    if let Some(length) = std::num::NonZeroUsize::new(damaged.len()) {
        damaged[random.random_range(0..length.get())] ^= random.random_range(1..=255u8);
        let whole = read(&case, &damaged, None);
        assert_eq!(read(&case, &damaged, Some(random)), whole, "damaged");
    }
}

/// Of a text that may grow each byte is given, or told as half a character.
fn check_growing(case: &Case, stream: &[u8]) {
    if case.compression != Compression::None {
        return;
    }
    let source = Box::new(io::Cursor::new(stream.to_vec()));
    let mut text = Decoded::new(case.compression, source, Limits::default(), Growth::Open);
    let mut said = Vec::new();
    text.read_to_end(&mut said).expect("memory can be read");
    let given = match Encoding::of(stream) {
        Encoding::Utf8 => said.len(),
        _ => 2 * encoding::units(&said) as usize,
    };
    assert_eq!(given + text.half(), stream.len());
}

fn case(random: &mut SmallRng) -> Case {
    let is_utf16 = random.random_ratio(1, 5);
    let mut text = text(random, is_utf16);
    // The encoders of bzip2 and xz take a millisecond each.
    let compression = match random.random_range(0..200) {
        0..100 => Compression::None,
        100..180 => Compression::Gzip,
        180..198 => Compression::Zstd,
        198 => Compression::Bzip2,
        _ => Compression::Xz,
    };
    let encoded = match is_utf16 {
        true => {
            text.splice(0..0, "\u{feff}".bytes());
            utf16(&String::from_utf8(text.clone()).expect("only characters"), random)
        }
        // Two bytes that would be taken for UTF-16, and a plain text for a compressed one.
        false => {
            text.splice(0..0, *b"##");
            text.clone()
        }
    };
    let mut case = Case { compression, stream: Vec::new(), text, parts: Vec::new() };
    let mut rest = encoded.as_slice();
    if random.random_ratio(1, 4) {
        case.add_others(random);
    }
    loop {
        let (member, more) = rest.split_at(random.random_range(0..=rest.len()));
        let (member, more) = if random.random() { (rest, &[][..]) } else { (member, more) };
        pack(compression, member, &mut case.stream);
        // Of UTF-16 all characters are one text.
        match (is_utf16, more) {
            (true, []) => case.add_text(&case.text.clone()),
            (true, _) => {}
            (false, _) => case.add_text(member),
        }
        rest = more;
        if rest.is_empty() {
            break;
        }
        if !is_utf16 && random.random_ratio(1, 4) {
            case.add_others(random);
        }
    }
    if random.random_ratio(1, 4) {
        case.add_others(random);
    }
    case
}

impl Case {
    fn add_text(&mut self, text: &[u8]) {
        match self.parts.last_mut() {
            Some((true, last)) => last.extend(text),
            _ => self.parts.push((true, text.to_vec())),
        }
    }

    /// Zeros, and bytes that belong to no member.
    fn add_others(&mut self, random: &mut SmallRng) {
        if self.compression == Compression::None {
            return;
        }
        if random.random() {
            self.stream.extend(vec![0; random.random_range(1..20)]);
        }
        if random.random() {
            let mut others = b"garbage".to_vec();
            others.extend((0..random.random_range(0..60)).map(|_| random.random::<u8>()));
            self.stream.extend(&others);
            self.parts.push((false, others));
        }
    }
}

fn text(random: &mut SmallRng, only_characters: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..random.random_range(0..40) {
        match random.random_range(0..16) {
            0..4 => text.push(b'\n'),
            4 => text.extend(b"\r\n"),
            5 => text.extend(vec![b' '; random.random_range(1..4)]),
            6 => text.extend(vec![0; random.random_range(1..2 * HOLE_BYTES_MIN)]),
            7 => text.extend("\u{feff}".bytes()),
            8 => text.extend("\u{e9}\u{1f600}".bytes()),
            9 if !only_characters => text.push(random.random()),
            10 => text.extend(vec![b'x'; random.random_range(1..60)]),
            11 if random.random_ratio(1, 20) => text.extend(vec![0; 10_000]),
            _ => text.extend(b"word"),
        }
    }
    text
}

fn utf16(text: &str, random: &mut SmallRng) -> Vec<u8> {
    match random.random() {
        true => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        false => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    }
}

fn pack(compression: Compression, text: &[u8], into: &mut Vec<u8>) {
    let level = flate2::Compression::fast();
    match compression {
        Compression::None => into.write_all(text),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(into, level);
            encoder.write_all(text).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Zstd => zstd::stream::copy_encode(text, into, 1),
        Compression::Bzip2 => {
            let mut encoder = bzip2::read::BzEncoder::new(text, bzip2::Compression::fast());
            encoder.read_to_end(into).map(drop)
        }
        Compression::Xz => liblzma::read::XzEncoder::new(text, 0).read_to_end(into).map(drop),
    }
    .expect("memory takes it");
}

/// Gives a stream in small pieces.
struct Pieces(io::Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(self.1);
        self.0.read(&mut into[..most])
    }
}

/// Reads a stream, in one block or in many with new beginnings in between.
fn read(case: &Case, stream: &[u8], mut random: Option<&mut SmallRng>) -> Outcome {
    let mut outcome = Outcome::default();
    let at_once = random.as_mut().map_or(usize::MAX, |random| random.random_range(1..300));
    let open = |at: i64| {
        let source = Box::new(Pieces(io::Cursor::new(stream.to_vec()), at_once));
        let limits = Limits::default();
        let mut text = Decoded::new(case.compression, source, limits, Growth::Closed);
        let read = io::copy(&mut text.by_ref().take(at.cast_unsigned()), &mut io::sink());
        assert_eq!(read.expect("it was read before"), at.cast_unsigned());
        text
    };
    let mut text = open(0);
    let mut begun = 0;
    let mut lines = Lines::new(LINE_BYTES_MAX);
    loop {
        let room = random.as_mut().map_or(1 << 20, |random| random.random_range(1..200));
        let mut block = lines.block(room);
        let refusal = text.foreign_reason();
        let reached = text.fill(&mut block, room);
        let is_last = matches!(reached, Ok(Reached::End) | Err(_));
        let batch = match (refusal, &reached) {
            (Some(reason), Ok(Reached::Room)) => lines.refuse(block, &reason),
            (Some(reason), Ok(Reached::Stretch)) => lines.refuse_ended(block, &reason),
            (Some(reason), _) => lines.refuse_last(block, &reason),
            (None, Ok(Reached::Stretch)) => lines.cut_ended(block),
            (None, Ok(Reached::End)) => lines.cut_last(block),
            (None, _) => lines.cut(block),
        };
        let (next, start) = (batch.next, batch.start);
        outcome.take(batch);
        outcome.error = reached.err().map(|error| error.kind());
        if is_last {
            return outcome;
        }
        // Who begins anew in a hole would never come to its end.
        let is_further = next > begun;
        if is_further && random.as_mut().is_some_and(|random| random.random_ratio(1, 10)) {
            begun = next;
            text = open(next);
            lines = Lines::resume(LINE_BYTES_MAX, next, start);
        }
    }
}

impl Outcome {
    fn take(&mut self, batch: LineBatch) {
        let begin = self.items.len();
        for (position, text) in batch.positions.values().iter().zip(batch.text.iter()) {
            let text = text.expect("never null").to_owned();
            self.items.push((*position, Item::Record(text)));
        }
        for Gap { position, bytes } in batch.gaps {
            self.items.push((position, Item::Gap(bytes)));
        }
        let refused = batch.rejects.into_iter();
        self.items.extend(refused.map(|reject| (reject.position, Item::Refused(reject))));
        self.items[begin..].sort_by_key(|(position, _)| *position);
    }
}

/// Whether all bytes are told of, and none twice.
fn check_coverage(case: &Case, outcome: &Outcome) {
    let all: Vec<u8> = case.parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut told_to = 0;
    for (position, item) in &outcome.items {
        let begin = usize::try_from(*position).expect("positive");
        assert!(begin >= told_to, "{position} was told before: {outcome:?}");
        check_frame(&all[told_to..begin]);
        let (is_text, part, end) = case.part_at(begin);
        let line = &all[begin..end];
        told_to = match item {
            Item::Gap(bytes) => {
                let end = begin + *bytes as usize;
                assert!(all[begin..end].iter().all(|byte| *byte == 0));
                end
            }
            Item::Refused(reject) if !is_text => {
                assert_eq!(begin, part, "all of it is one");
                let kept = reject.original.as_deref().expect("its bytes");
                assert_eq!(kept, &line[..line.len().min(LINE_BYTES_MAX)]);
                end
            }
            Item::Refused(reject) => {
                let line = &line[..line_length(line)];
                let kept = reject.original.as_deref().expect("its bytes");
                assert_eq!(kept, &line[..LINE_BYTES_MAX]);
                begin + line.len()
            }
            Item::Record(text) => {
                assert!(is_text, "{text:?} is none");
                let line = &line[..line_length(line)];
                assert_eq!(*text, String::from_utf8_lossy(line));
                begin + line.len()
            }
        };
    }
    check_frame(&all[told_to..]);
}

impl Case {
    /// The part in which a byte stands: whether it is text, where it begins and where it ends.
    fn part_at(&self, byte: usize) -> (bool, usize, usize) {
        let mut begin = 0;
        for (is_text, bytes) in &self.parts {
            let end = begin + bytes.len();
            if byte < end {
                return (*is_text, begin, end);
            }
            begin = end;
        }
        panic!("nothing stands at {byte}");
    }
}

/// The length of a line up to its end or the hole that interrupts it.
fn line_length(text: &[u8]) -> usize {
    let hole = text.windows(HOLE_BYTES_MIN).position(|window| window.iter().all(|byte| *byte == 0));
    let text = &text[..hole.unwrap_or(text.len())];
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let ends_with_return = end > 0 && text[end - 1] == b'\r';
    end - usize::from(ends_with_return)
}

/// Only blanks, line ends and marks of the byte order stand between what is told.
fn check_frame(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("no bad byte is left out");
    let is_frame = |character: char| character.is_ascii_whitespace() || character == '\u{feff}';
    assert!(text.chars().all(is_frame), "{text:?} is told nowhere");
}

#[test]
fn a_start_of_every_kind_is_tried() {
    let mut starts = Vec::new();
    for seed in 0..300 {
        let case = case(&mut SmallRng::seed_from_u64(seed));
        let mut lines = Lines::new(LINE_BYTES_MAX);
        let mut block = lines.block(0);
        block.extend(&case.text);
        starts.push(lines.cut_last(block).start);
    }
    for start in [Start::Line, Start::Continuation, Start::Overlong] {
        assert!(starts.contains(&start), "{start:?}");
    }
}
