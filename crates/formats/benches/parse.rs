//! How fast lines become columns, beside counting their line ends in the same run.
//!
//! `cargo bench -p formats --bench parse`

use std::hint::black_box;
use std::time::Instant;

use arrow::array::{Array, StringViewArray, make_view};
use arrow::buffer::Buffer;
use formats::sample::AccessLog;
use formats::{Format, FormatConfig, Parser, parser};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LINES: u64 = 1_000_000;
const BATCH_ROWS: usize = 8_192;
const ROUNDS: usize = 7;

/// Counting once is too quick for the clock.
const COUNTS: u32 = 32;

fn main() {
    let mut text = Vec::new();
    let generating = seconds(|| {
        text.clear();
        let mut log = AccessLog::new(1, LINES).with_broken(0.01);
        log.write_all(&mut text).expect("memory takes every line");
        log.broken_rows()
    });
    let lossy = String::from_utf8_lossy(&text).into_owned();
    let bytes = lossy.len();
    println!("{LINES} lines of {} bytes", bytes / LINES as usize);
    report("generate", text.len(), generating, generating);

    let batches = batches(&lossy);
    let count = |_| memchr::memchr_iter(b'\n', black_box(lossy.as_bytes())).count() as u64;
    let counting = seconds(|| (0..COUNTS).map(count).sum()) / f64::from(COUNTS);
    report("count line ends", bytes, counting, counting);
    let combined = parser(&FormatConfig::new(Format::Combined)).expect("it has no settings");
    for (name, projection) in [
        ("combined, all columns", None),
        ("combined, endpoint", Some(&[5][..])),
        ("combined, ts and status", Some(&[3, 9][..])),
        ("combined, no column", Some(&[][..])),
    ] {
        let parsing = seconds(|| parse(combined.as_ref(), &batches, projection));
        report(name, bytes, parsing, counting);
    }
}

/// Parses all batches and gives the number of refused lines.
fn parse(parser: &dyn Parser, batches: &[StringViewArray], projection: Option<&[usize]>) -> u64 {
    let mut refused = 0;
    for lines in batches {
        let parsed = black_box(parser.parse(lines, projection));
        refused += parsed.refused.len() as u64;
    }
    refused
}

/// The lines as a reader gives them: views into blocks of the file.
fn batches(text: &str) -> Vec<StringViewArray> {
    let lines: Vec<_> = text.lines().collect();
    let batch = |lines: &[&str]| {
        let block = Buffer::from_vec(lines.join("\n").into_bytes());
        let mut offset = 0;
        let views: Vec<u128> = lines
            .iter()
            .map(|line| {
                let view = make_view(line.as_bytes(), 0, offset);
                offset += line.len() as u32 + 1;
                view
            })
            .collect();
        StringViewArray::try_new(views.into(), vec![block], None).expect("every view is valid")
    };
    let batches: Vec<_> = lines.chunks(BATCH_ROWS).map(batch).collect();
    assert_eq!(batches.iter().map(Array::len).sum::<usize>(), lines.len());
    batches
}

/// The seconds that the quickest round kept its core busy.
fn seconds(mut work: impl FnMut() -> u64) -> f64 {
    let started = Instant::now();
    let now = || busy_seconds().unwrap_or_else(|| started.elapsed().as_secs_f64());
    let round = |_| {
        let start = now();
        black_box(work());
        now() - start
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

/// How long this thread has run, as Linux counts it: other programs do not spoil the figure.
fn busy_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

fn report(name: &str, bytes: usize, seconds: f64, counting: f64) {
    let speed = bytes as f64 / seconds / 1e6;
    println!("{name:24} {speed:8.0} MB/s, {:5.2} of counting line ends", counting / seconds);
}
