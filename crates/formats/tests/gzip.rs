//! Any gzip stream, as it grows, is cut off, damaged and mixed with other bytes: read in pieces and
//! from any point it gives what reading at once gives, and every line of a good member once.
//!
//! `LOGMILL_FUZZ_CASES` and `LOGMILL_FUZZ_SEED` as in `bytes.rs`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex};

use formats::compression::gzip::{Gzip, Point};
use formats::decoded::{Decoded, Reached};
use formats::encoding::Growth;
use formats::lines::{LineBatch, Lines};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Strategy};

const CASES: u64 = 200;
/// A stream costs as much as so many in `bytes.rs`.
const CASES_OF_BYTES: u64 = 20;
const LINE_BYTES_MAX: usize = 200;
/// How often a stream grows, about.
const POLLS_MAX: usize = 100;
/// How many points at its present ends are tried.
const POINTS_MAX: usize = 6;

#[test]
fn a_stream_is_the_same_in_pieces_and_from_every_point() {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("LOGMILL_FUZZ_SEED").unwrap_or(0);
    let cases = number("LOGMILL_FUZZ_CASES")
        .map_or(CASES, |cases| cases.div_ceil(CASES_OF_BYTES).max(CASES.min(cases)));
    let mut points = 0;
    for seed in first..first + cases {
        let outcome = std::panic::catch_unwind(|| check(&mut SmallRng::seed_from_u64(seed)));
        match outcome {
            Ok(found) => points += found,
            Err(_) => panic!("LOGMILL_FUZZ_SEED={seed} LOGMILL_FUZZ_CASES=1 repeats it"),
        }
    }
    println!("gzip streams: {cases} from seed {first} on, {points} points, 0 failures");
    assert!(cases < CASES || points > 0, "a test without points shows nothing");
}

/// What a stream gives: text, or bytes that are none with the reason.
#[derive(Clone, PartialEq)]
struct Given {
    position: u64,
    foreign: Option<String>,
    is_torn: bool,
    bytes: Vec<u8>,
}

impl fmt::Debug for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, sum) = (self.bytes.len(), zlib_rs::crc32::crc32(0, &self.bytes));
        let foreign = self.foreign.as_deref().unwrap_or("text");
        write!(formatter, "{} {bytes} bytes ({sum:x}) {foreign}", self.position)
    }
}

#[derive(Debug, Default)]
struct Outcome {
    given: Vec<Given>,
    error: Option<ErrorKind>,
}

impl Outcome {
    fn add(&mut self, position: u64, foreign: Option<(String, bool)>, bytes: &[u8]) {
        let is_torn = foreign.as_ref().is_some_and(|(_, is_torn)| *is_torn);
        let foreign = foreign.map(|(reason, _)| reason);
        match self.given.last_mut() {
            Some(last) if last.foreign == foreign => last.bytes.extend(bytes),
            _ => self.given.push(Given { position, foreign, is_torn, bytes: bytes.to_vec() }),
        }
    }

    /// Only what stands behind a position. A tear without bytes just there stands on neither side.
    fn behind(&self, position: u64) -> Vec<Given> {
        let kept = self.given.iter().filter_map(|given| {
            let end = given.position + given.bytes.len() as u64;
            let cut = position.saturating_sub(given.position) as usize;
            (end > position).then(|| {
                let position = given.position.max(position);
                Given { position, bytes: given.bytes[cut..].to_vec(), ..given.clone() }
            })
        });
        kept.collect()
    }
}

fn check(random: &mut SmallRng) -> usize {
    let case = case(random);
    let whole = read_at_once(&case.stream);
    check_lines(&case, &whole);
    let mut found = 0;
    for _ in 0..2 {
        let (pieces, points) = read_in_pieces(&case.stream, random);
        check_prefix(&pieces, &whole);
        // Damage ends a reading until it is known what follows, and so does a header where a stored
        // block may go on.
        let waits = match pieces.error {
            Some(ErrorKind::InvalidData) => true,
            Some(ErrorKind::UnexpectedEof) => case.is_stored_torn,
            _ => false,
        };
        if case.ends_whole && !waits {
            assert_eq!(pieces.given, whole.given, "in pieces");
        }
        found += points.len();
        for point in points {
            check_from(&case.stream, &point, &whole, random);
        }
    }
    found
}

/// What was read of a stream that may go on is a part of what it is once it has ended.
fn check_prefix(part: &Outcome, whole: &Outcome) {
    for (number, given) in part.given.iter().enumerate() {
        let Some(expect) = whole.given.get(number) else { panic!("{given:?} is too much") };
        let is_last = number + 1 == part.given.len();
        assert_eq!(given.foreign, expect.foreign, "stretch {number}");
        assert_eq!(given.position, expect.position, "stretch {number}");
        match is_last {
            true => assert!(expect.bytes.starts_with(&given.bytes), "stretch {number}"),
            false => assert_eq!(given.bytes, expect.bytes, "stretch {number}"),
        }
    }
}

/// From a point, and from the member before it, the rest is the same.
fn check_from(stream: &[u8], point: &Point, whole: &Outcome, random: &mut SmallRng) {
    let point = Point::of_bytes(&point.to_bytes()).expect("it was written");
    let known = point.before.len() as u64;
    let position = match random.random_range(0..3) {
        0 => point.text - random.random_range(0..=known),
        1 => point.text,
        _ => point.text + random.random_range(0..2000),
    };
    let source = |packed: u64| Box::new(io::Cursor::new(stream[packed as usize..].to_vec()));
    let from = Gzip::from_point(source(point.packed), Growth::Closed, &point, position);
    assert_eq!(from.is_some(), point.serves(position));
    let Some(mut from) = from else { return };
    let begin = point.text.min(position);
    let outcome = read_all(&mut from, begin);
    assert_eq!(outcome.behind(begin), whole.behind(begin), "from {} at {position}", point.text);
    assert_eq!(outcome.error, whole.error);
    if let Some(inside) = point.inside {
        let start = inside.start;
        let mut from = Gzip::from_start(source(start.packed), Growth::Closed, start);
        let outcome = read_all(&mut from, start.text);
        assert_eq!(outcome.behind(start.text), whole.behind(start.text), "from {}", start.text);
    }
}

fn read_at_once(stream: &[u8]) -> Outcome {
    let source = Box::new(io::Cursor::new(stream.to_vec()));
    read_all(&mut Gzip::new(source, Growth::Closed), 0)
}

fn read_all(gzip: &mut Gzip, begin: u64) -> Outcome {
    let (mut outcome, mut position) = (Outcome::default(), begin);
    let mut piece = vec![0; 300_000];
    outcome.error = read_some(gzip, &mut piece, &mut outcome, &mut position);
    outcome
}

/// Reads to the present end.
fn read_some(
    gzip: &mut Gzip,
    piece: &mut [u8],
    outcome: &mut Outcome,
    position: &mut u64,
) -> Option<ErrorKind> {
    loop {
        let foreign =
            gzip.refusal().map(|refused| (refused.reason().to_owned(), refused.is_torn()));
        let read = match &foreign {
            Some(_) => gzip.read_refused(piece),
            None => gzip.read_text(piece),
        };
        match read {
            Ok(0) if foreign.is_none() && gzip.refusal().is_none() => return None,
            Ok(0) if foreign.is_some() && gzip.refusal().is_some() => return None,
            Ok(0) if foreign.is_some() => outcome.add(*position, foreign, &[]),
            Ok(0) => {}
            Ok(read) => {
                outcome.add(*position, foreign, &piece[..read]);
                *position += read as u64;
            }
            Err(error) => return Some(error.kind()),
        }
    }
}

/// A stream of which only a part is there.
struct Growing(Arc<Mutex<(Vec<u8>, usize)>>, usize);

impl Read for Growing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stream = self.0.lock().unwrap();
        let there = &stream.0[self.1..stream.1];
        let bytes = there.len().min(into.len());
        into[..bytes].copy_from_slice(&there[..bytes]);
        self.1 += bytes;
        Ok(bytes)
    }
}

fn read_in_pieces(stream: &[u8], random: &mut SmallRng) -> (Outcome, Vec<Point>) {
    let shared = Arc::new(Mutex::new((stream.to_vec(), 0)));
    let mut gzip = Gzip::new(Box::new(Growing(shared.clone(), 0)), Growth::Open);
    let (mut outcome, mut position, mut points) = (Outcome::default(), 0, Vec::new());
    let most = [3, 50, 5_000, 200_000][random.random_range(0..4)];
    let most = most.max(stream.len() / POLLS_MAX);
    let mut piece = vec![0; random.random_range(1..100_000)];
    let mut there = 0;
    loop {
        shared.lock().unwrap().1 = there;
        gzip.go_on();
        outcome.error = read_some(&mut gzip, &mut piece, &mut outcome, &mut position);
        points.extend(gzip.take_point());
        if random.random_ratio(1, 4) && points.len() < POINTS_MAX {
            points.extend(gzip.point_here());
        }
        let is_damaged = outcome.error == Some(ErrorKind::InvalidData);
        if there == stream.len() || is_damaged {
            return (outcome, points);
        }
        there = (there + random.random_range(1..=most)).min(stream.len());
    }
}

/// A stream and what must come out of it.
#[derive(Default)]
struct Case {
    stream: Vec<u8>,
    /// The text of each member, and whether it is torn.
    parts: Vec<(Vec<u8>, bool)>,
    /// Whether the parts tell all that comes out.
    is_known: bool,
    ends_whole: bool,
    /// Whether a member was cut off that is not compressed.
    is_stored_torn: bool,
}

fn case(random: &mut SmallRng) -> Case {
    let mut case = Case { is_known: true, ..Case::default() };
    let is_large = random.random_ratio(1, 50);
    let count = random.random_range(1..6);
    let mut line = 0;
    if random.random_ratio(1, 4) {
        case.add_others(random);
    }
    for number in 0..count {
        let text = text(random, &mut line, is_large);
        case.ends_whole = true;
        case.add_member(text, number + 1 == count, random);
        if !case.parts.last().is_some_and(|(_, is_torn)| *is_torn) {
            case.add_others(random);
        }
    }
    if random.random_ratio(1, 6) {
        case.stream.truncate(random.random_range(0..case.stream.len()));
        (case.is_known, case.ends_whole) = (false, false);
    }
    case
}

impl Case {
    fn add_member(&mut self, text: Vec<u8>, is_last: bool, random: &mut SmallRng) {
        let level = *[0, 1, 6, 9].get(random.random_range(0..4)).unwrap();
        let mut member = member(&text, level, random);
        let length = member.len();
        match random.random_range(0..10) {
            0 if !is_last => {
                // The next one follows at once.
                member.truncate(random.random_range(3..length - 8));
                self.is_stored_torn |= level == 0;
                self.parts.push((inflated(&member), true));
            }
            1 => {
                member[length - random.random_range(1..=8)] ^= 0x55;
                self.parts.push((text, false));
            }
            2 => {
                member[random.random_range(10..length - 8)] ^= 1 << random.random_range(0..8);
                (self.is_known, self.ends_whole) = (false, false);
            }
            _ => self.parts.push((text, false)),
        }
        self.stream.extend(member);
    }

    /// Bytes that belong to no member.
    fn add_others(&mut self, random: &mut SmallRng) {
        match random.random_range(0..8) {
            0 => self.stream.extend(vec![0; random.random_range(1..700)]),
            1 => {
                self.stream.push(b'#');
                let garbage = random.random_range(1..400);
                self.stream.extend((0..garbage).map(|_| random.random::<u8>()));
                self.ends_whole = false;
            }
            2 => {
                self.stream.extend(b"#\x1f\x8b\x08 no member");
                self.ends_whole = false;
            }
            _ => {}
        }
    }
}

fn text(random: &mut SmallRng, line: &mut usize, is_large: bool) -> Vec<u8> {
    let lines = match is_large {
        true => random.random_range(20_000..40_000),
        false => random.random_range(0..200),
    };
    let mut text = Vec::new();
    for _ in 0..lines {
        let filler = random.random_range(0..60);
        let filler: String = (0..filler).map(|_| random.random_range('a'..='p')).collect();
        text.extend(format!("{line} {filler}\n").bytes());
        *line += 1;
    }
    text
}

/// Deflated in every way.
fn member(text: &[u8], level: i32, random: &mut SmallRng) -> Vec<u8> {
    let strategy = match random.random_range(0..4) {
        0 => Strategy::Fixed,
        1 => Strategy::HuffmanOnly,
        _ => Strategy::Default,
    };
    let mut deflate = Deflate::new_with_config(DeflateConfig {
        level,
        strategy,
        window_bits: -15,
        ..Default::default()
    });
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    if random.random_ratio(1, 3) {
        member[3] = 8;
        member.extend(b"a.log\0");
    }
    let flushes = random.random_range(0..4) > 0;
    let mut rest = text;
    while !rest.is_empty() && flushes {
        let (piece, more) = rest.split_at(random.random_range(1..=rest.len().min(300_000)));
        let flush = match random.random_range(0..4) {
            0 => DeflateFlush::PartialFlush,
            1 => DeflateFlush::FullFlush,
            2 => DeflateFlush::Block,
            _ => DeflateFlush::SyncFlush,
        };
        deflate_into(&mut deflate, piece, flush, &mut member);
        rest = more;
        if random.random_ratio(1, 5) {
            break;
        }
    }
    deflate_into(&mut deflate, rest, DeflateFlush::Finish, &mut member);
    let sum = zlib_rs::crc32::crc32(0, text);
    member.extend(sum.to_le_bytes());
    member.extend((text.len() as u32).to_le_bytes());
    member
}

fn deflate_into(deflate: &mut Deflate, text: &[u8], flush: DeflateFlush, into: &mut Vec<u8>) {
    let mut room = vec![0; text.len() * 2 + 100_000];
    let (read, written) = (deflate.total_in(), deflate.total_out());
    deflate.compress(text, &mut room, flush).expect("there is room");
    assert_eq!(deflate.total_in() - read, text.len() as u64);
    into.extend(&room[..(deflate.total_out() - written) as usize]);
}

/// The text of a member that was cut off.
fn inflated(cut: &[u8]) -> Vec<u8> {
    let header = match cut.get(3) {
        Some(8) => 16,
        _ => 10,
    };
    let mut text = vec![0; 8 << 20];
    let mut inflate = Inflate::new(false, 15);
    if cut.len() > header {
        inflate.decompress(&cut[header..], &mut text, InflateFlush::NoFlush).expect("it is whole");
    }
    text.truncate(inflate.total_out() as usize);
    text
}

/// Every line of a whole member is a record, and of one that was cut off those before the cut;
/// nothing else is.
fn check_lines(case: &Case, whole: &Outcome) {
    if !case.is_known {
        return;
    }
    let mut expect = Vec::new();
    for (text, is_torn) in &case.parts {
        let end = match is_torn {
            true => text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
            false => text.len(),
        };
        let text = std::str::from_utf8(&text[..end]).unwrap();
        expect.extend(text.lines().map(str::to_owned));
    }
    let (records, letters) = records(&case.stream);
    assert_eq!(records, expect);
    let reasons: Vec<_> = whole.given.iter().filter_map(|given| given.foreign.as_ref()).collect();
    assert!(letters.iter().all(|letter| reasons.contains(&letter)), "{letters:?} {reasons:?}");
    let wrong = |reason: &&&String| reason.contains("checksum");
    let told = letters.iter().filter(|letter| letter.contains("checksum")).count();
    assert_eq!(told, reasons.iter().filter(wrong).count());
    // Each stretch that holds any byte is one.
    let stretches = whole.given.iter().filter(|given| given.foreign.is_some());
    let with_bytes = stretches.filter(|given| given.bytes.iter().any(|byte| *byte > b' '));
    assert!(with_bytes.count() <= letters.len(), "{letters:?} {reasons:?}");
}

fn records(stream: &[u8]) -> (Vec<String>, Vec<String>) {
    let source = Box::new(io::Cursor::new(stream.to_vec()));
    let mut text = Decoded::of_gzip(Gzip::new(source, Growth::Closed));
    let mut lines = Lines::new(LINE_BYTES_MAX);
    let (mut records, mut letters) = (Vec::new(), Vec::new());
    let mut add = |batch: LineBatch| {
        records.extend(batch.text.iter().map(|text| text.unwrap().to_owned()));
        letters.extend(batch.rejects.into_iter().map(|reject| reject.reason));
    };
    loop {
        let mut block = lines.block(10_000);
        let refusal = text.foreign_reason();
        let reached = text.fill(&mut block, 10_000).expect("nothing is torn at the end");
        add(match (refusal, reached) {
            (Some(reason), Reached::Room) => lines.refuse(block, &reason),
            (Some(reason), Reached::Stretch) => lines.refuse_ended(block, &reason),
            (Some(reason), _) => lines.refuse_last(block, &reason),
            (None, Reached::Stretch) => lines.cut_ended(block),
            (None, Reached::End) => lines.cut_last(block),
            (None, _) => lines.cut(block),
        });
        if reached == Reached::End {
            return (records, letters);
        }
    }
}

/// Text of one member that grows, with what it is compressed to.
struct Writer {
    deflate: Deflate,
    shared: Arc<Mutex<(Vec<u8>, usize)>>,
    line: usize,
    text: u64,
}

impl Writer {
    fn new() -> Self {
        let header = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let shared = Arc::new(Mutex::new((header, 10)));
        Self { deflate: Deflate::new(6, false, 15), shared, line: 0, text: 0 }
    }

    /// Writes lines and flushes; says how much text that was.
    fn write(&mut self, lines: usize, random: &mut SmallRng) -> u64 {
        let mut text = String::new();
        for _ in 0..lines {
            let status = random.random_range(200..600);
            text += &format!("{} GET /some/path/{} {status}\n", self.line, self.line % 97);
            self.line += 1;
        }
        let mut stream = self.shared.lock().unwrap();
        deflate_into(&mut self.deflate, text.as_bytes(), DeflateFlush::SyncFlush, &mut stream.0);
        stream.1 = stream.0.len();
        self.text += text.len() as u64;
        text.len() as u64
    }
}

/// Reads all that there is; gives the points that were passed, and the one at the end last.
fn follow(gzip: &mut Gzip) -> Vec<Point> {
    let (mut piece, mut points) = (vec![0; 100_000], Vec::new());
    while gzip.read_text(&mut piece).is_ok_and(|read| read > 0) {
        points.extend(gzip.take_point());
    }
    points.extend(gzip.point_here());
    points
}

/// A member of 200 MB that grows by 10 KB, 1,000 times; of a tenth where not all is to be run.
#[test]
fn a_member_that_grows_costs_what_is_new_at_a_tenth() {
    let is_whole = std::env::var_os("LOGMILL_WHOLE").is_some();
    let (member_bytes, polls) = if is_whole { (200 << 20, 1_000) } else { (5 << 20, 100) };
    let mut random = SmallRng::seed_from_u64(1);
    let mut writer = Writer::new();
    while writer.shared.lock().unwrap().0.len() < member_bytes {
        writer.write(100_000, &mut random);
    }
    let shared = writer.shared.clone();
    let mut staying = Gzip::new(Box::new(Growing(shared.clone(), 0)), Growth::Open);
    let mut points = follow(&mut staying);
    let places: Vec<_> = points.iter().map(|point| point.text).collect();
    let is_near = |pair: &[u64]| pair[1] - pair[0] <= 1 << 20;
    assert!(places.len() > 5 && places.windows(2).all(is_near), "{places:?}");
    let mut at_rest = points.pop().expect("behind a flush");
    let mut newest = points.pop().expect("inside the member");
    let (begun, mut rested, mut appended) = (staying.inflated(), 0, 0);
    let (mut at_rest_bytes, mut after_kill) = (0, 0);
    for _ in 0..polls {
        appended += writer.write(1_000, &mut random);
        staying.go_on();
        let mut points = follow(&mut staying);
        points.pop();
        newest = points.pop().unwrap_or(newest);
        after_kill = after_kill.max(writer.text - newest.text);
        assert!(after_kill <= 1 << 20, "inflated again after a kill");
        let source = Box::new(Growing(shared.clone(), at_rest.packed as usize));
        let mut again = Gzip::from_point(source, Growth::Open, &at_rest, at_rest.text).unwrap();
        at_rest = follow(&mut again).pop().expect("behind a flush");
        at_rest_bytes = at_rest_bytes.max(at_rest.to_bytes().len());
        assert!(at_rest_bytes <= 33 << 10, "kept of a file that rests");
        rested += again.inflated();
    }
    let bytes = shared.lock().unwrap().0.len();
    let of_appended = |inflated: u64| inflated as f64 / appended as f64;
    println!(
        "{polls} polls of a member of {bytes} bytes: inflated {:.3} of what was appended, {:.3} where \
         the reader rests in between; {at_rest_bytes} bytes at rest; inflated again after a kill: \
         {after_kill} bytes",
        of_appended(staying.inflated() - begun),
        of_appended(rested)
    );
    assert_eq!(staying.inflated() - begun, appended);
    assert_eq!(rested, appended);
}
