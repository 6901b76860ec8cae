//! How fast gzip is read beside its library alone in the same run, and what a file costs that
//! grows.
//!
//! `cargo bench -p formats --bench inflate`

use std::hint::black_box;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use formats::compression::gzip::{Gzip, Point};
use formats::compression::{Compression, Limits};
use formats::decoded::{Decoded, Reached};
use formats::encoding::Growth;
use formats::sample::AccessLog;
use zlib_rs::{Deflate, DeflateFlush};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LINES: u64 = 500_000;
const ROUNDS: usize = 7;
const BLOCK_BYTES: usize = 1 << 20;

/// The member that grows, how often, and by how much, about, as it is compressed.
const GROWING_BYTES: usize = 200 << 20;
const POLLS: usize = 1_000;
const GROWTH_BYTES: usize = 10 << 10;

fn main() {
    let mut text = Vec::new();
    let mut log = AccessLog::new(1, LINES);
    log.write_all(&mut text).expect("memory takes every line");
    for (name, member_bytes) in [("one member", usize::MAX), ("members of 64 KiB", 64 << 10)] {
        let mut packed = Vec::new();
        for member in text.chunks(member_bytes.min(text.len())) {
            let level = flate2::Compression::default();
            let mut encoder = flate2::read::GzEncoder::new(member, level);
            encoder.read_to_end(&mut packed).expect("memory takes it");
        }
        let alone = seconds(|| flate2_alone(&packed));
        report(&format!("flate2, {name}"), text.len(), alone, alone);
        for growth in [Growth::Closed, Growth::Open] {
            let ours = seconds(|| decoded(&packed, growth));
            report(&format!("decoded, {name}, {growth:?}"), text.len(), ours, alone);
        }
    }
    growing(&text);
}

fn flate2_alone(packed: &[u8]) -> u64 {
    let (mut decoder, mut bytes) = (MultiGzDecoder::new(packed), 0);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    loop {
        block.clear();
        let room = decoder.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block);
        let read = room.expect("it is whole");
        if read == 0 {
            return bytes;
        }
        bytes += black_box(&block).len() as u64;
    }
}

fn decoded(packed: &[u8], growth: Growth) -> u64 {
    let source = Box::new(io::Cursor::new(packed.to_vec()));
    let mut decoded = Decoded::new(Compression::Gzip, source, Limits::default(), growth);
    let mut bytes = 0;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    loop {
        block.clear();
        let reached = decoded.fill(&mut block, BLOCK_BYTES).expect("it is whole");
        bytes += black_box(&block).len() as u64;
        if reached == Reached::End {
            return bytes;
        }
    }
}

/// A file that somebody writes to.
#[derive(Clone, Default)]
struct Growing {
    file: Arc<Mutex<Vec<u8>>>,
    at: usize,
}

impl Read for Growing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let file = self.file.lock().expect("nobody panics");
        let bytes = into.len().min(file.len() - self.at);
        into[..bytes].copy_from_slice(&file[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}

/// One member of 200 MB grows by 10 KB, 1,000 times: read by one reader, by one that rests after
/// each poll, and by one that is killed.
fn growing(text: &[u8]) {
    let mut writer = Writer::new(text);
    while writer.written < GROWING_BYTES {
        writer.write(1 << 20);
    }
    let file = writer.file.clone();
    let mut staying = Gzip::new(Box::new(file.clone()), Growth::Open);
    let (mut newest, here) = read(&mut staying);
    let mut resting = here.expect("behind a flush");
    let (begun_staying, mut rested, mut appended) = (staying.inflated(), 0, 0);
    let (mut at_rest, mut after_kill) = (0, 0);
    for _ in 0..POLLS {
        appended += writer.write(GROWTH_BYTES);
        staying.go_on();
        newest = read(&mut staying).0.or(newest);
        let known = newest.as_ref().map_or(0, |point| point.text);
        after_kill = after_kill.max(writer.text - known);
        let reopened = Growing { at: resting.packed as usize, ..file.clone() };
        let mut again = Gzip::from_point(Box::new(reopened), Growth::Open, &resting, resting.text)
            .expect("it serves its own place");
        resting = read(&mut again).1.expect("behind a flush");
        rested += again.inflated();
        at_rest = at_rest.max(resting.to_bytes().len());
    }
    let staying = staying.inflated() - begun_staying;
    let of = |bytes: u64| bytes as f64 / appended as f64;
    println!(
        "{POLLS} polls of a member of {} MB, {appended} bytes of text appended",
        GROWING_BYTES >> 20
    );
    println!("inflated by one that stays     {:.3} of it", of(staying));
    println!("inflated by one that rests     {:.3} of it", of(rested));
    println!("kept of a file that rests      {at_rest} bytes");
    println!("inflated again after a kill    {after_kill} bytes at most, from no flush");
}

/// Reads all that there is; gives the last point that was passed, and the one at the end.
fn read(gzip: &mut Gzip) -> (Option<Point>, Option<Point>) {
    let (mut piece, mut passed) = (vec![0; BLOCK_BYTES], None);
    while gzip.read_text(&mut piece).is_ok_and(|read| read > 0) {
        passed = gzip.take_point().or(passed);
    }
    (passed, gzip.point_here())
}

/// Compresses lines and flushes, as a server does.
struct Writer<'a> {
    lines: &'a [u8],
    deflate: Deflate,
    file: Growing,
    written: usize,
    text: u64,
}

impl<'a> Writer<'a> {
    fn new(lines: &'a [u8]) -> Self {
        let file = Growing::default();
        file.file.lock().expect("nobody panics").extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
        Self { lines, deflate: Deflate::new(6, false, 15), file, written: 10, text: 0 }
    }

    /// Writes about so many bytes; says how much text that was.
    fn write(&mut self, bytes: usize) -> u64 {
        const RATIO: usize = 8;
        let begin = self.text as usize % (self.lines.len() / 2);
        let text = &self.lines[begin..begin + (bytes * RATIO).min(self.lines.len() / 2)];
        let end = memchr::memrchr(b'\n', text).map_or(text.len(), |end| end + 1);
        let mut room = vec![0; text.len() + 1_000];
        let before = self.deflate.total_out();
        self.deflate.compress(&text[..end], &mut room, DeflateFlush::SyncFlush).expect("room");
        let written = (self.deflate.total_out() - before) as usize;
        self.file.file.lock().expect("nobody panics").extend(&room[..written]);
        self.written += written;
        self.text += end as u64;
        end as u64
    }
}

/// The seconds that the quickest round took.
fn seconds(mut work: impl FnMut() -> u64) -> f64 {
    let round = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn report(name: &str, bytes: usize, seconds: f64, peer: f64) {
    let speed = bytes as f64 / seconds / 1e6;
    println!("{name:40} {speed:8.0} MB/s, {:5.2} of flate2's time", seconds / peer);
}
