//! Realistic access logs, made up: for demonstrations, tests and measurements.
//!
//! The same seed, number of rows and options give the same bytes, on every machine: the numbers
//! are whole ones from a generator of our own. Times rise over some days with its days and nights;
//! visitors and pages follow Zipf's law; some requests are those of scanners; some lines are
//! broken, each of which a parser must refuse.

mod agents;
mod line;
mod random;

use std::io;

use line::Writer;
use random::Random;

/// How many bytes [`AccessLog::write_all`] hands on at once.
const BLOCK_BYTES: usize = 1 << 20;

/// A day.
const DAY_US: u64 = 86_400_000_000;

/// Over how many days lines are spread.
pub const DAYS: u64 = 7;

/// Chances are counted in millionths.
const MILLION: u64 = 1_000_000;

/// A generator of lines in the form `combined`.
pub struct AccessLog {
    random: Random,
    writer: Writer,
    rows: u64,
    rows_left: u64,
    gap_us: u64,
    broken_per_million: u64,
    broken_rows: u64,
}

impl AccessLog {
    /// A log of so many lines, none of them broken.
    pub fn new(seed: u64, rows: u64) -> Self {
        Self {
            random: Random::new(seed),
            writer: Writer::new(),
            rows_left: rows,
            gap_us: DAYS * DAY_US / rows.max(1),
            rows,
            broken_per_million: 0,
            broken_rows: 0,
        }
    }

    /// Spreads the lines over so many days.
    #[must_use]
    pub fn with_days(mut self, days: u64) -> Self {
        self.gap_us = days.saturating_mul(DAY_US) / self.rows.max(1);
        self
    }

    /// Breaks this fraction of the lines, from 0 to 1.
    #[must_use]
    pub fn with_broken(mut self, fraction: f64) -> Self {
        self.broken_per_million = (fraction.clamp(0.0, 1.0) * MILLION as f64) as u64;
        self
    }

    /// Adds a response time in milliseconds to every line.
    #[must_use]
    pub fn with_response_time(mut self) -> Self {
        self.writer.with_response_time();
        self
    }

    /// How many of the lines written so far are broken.
    pub fn broken_rows(&self) -> u64 {
        self.broken_rows
    }

    /// Adds whole lines until `out` holds at least `bytes` bytes. Gives the number of lines, 0 at
    /// the end of the log.
    pub fn write_lines(&mut self, out: &mut Vec<u8>, bytes: usize) -> u64 {
        let before = self.rows_left;
        while self.rows_left > 0 && out.len() < bytes {
            self.rows_left -= 1;
            self.write_line(out);
        }
        before - self.rows_left
    }

    /// Writes all lines that are left.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_all(&mut self, out: &mut impl io::Write) -> io::Result<()> {
        let mut block = Vec::with_capacity(BLOCK_BYTES + (BLOCK_BYTES >> 4));
        while self.write_lines(&mut block, BLOCK_BYTES) > 0 {
            out.write_all(&block)?;
            block.clear();
        }
        Ok(())
    }

    fn write_line(&mut self, out: &mut Vec<u8>) {
        self.writer.advance(self.gap_us, &mut self.random);
        let start = out.len();
        let agent_end = self.writer.write(out, &mut self.random);
        if self.random.below(MILLION) < self.broken_per_million {
            self.broken_rows += 1;
            break_line(out, start, agent_end, &mut self.random);
        }
        out.push(b'\n');
    }
}

/// Makes the line that starts at `start`, whose user agent ends before the quote at `agent_end`,
/// one that no parser can accept.
fn break_line(out: &mut Vec<u8>, start: usize, agent_end: usize, random: &mut Random) {
    let time = out[start..].iter().position(|byte| *byte == b'[').map_or(start, |at| start + at);
    match random.below(5) {
        // The writer was killed.
        0 => out.truncate(start + 1 + random.below((agent_end - start) as u64) as usize),
        // A quote was lost.
        1 => {
            out.remove(agent_end);
        }
        // A day that does not exist.
        2 => out[time + 1..time + 3].copy_from_slice(b"32"),
        // A block of the disk was lost.
        3 => {
            out.truncate(start);
            for _ in 0..20 + random.below(200) {
                let byte = random.below(256) as u8;
                out.push(if matches!(byte, b'\n' | b'\r') { 0 } else { byte });
            }
        }
        // Another program wrote into the file.
        _ => {
            out.truncate(start);
            out.extend_from_slice(b"AH00163: Apache/2.4.58 (Unix) configured -- resuming");
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, StringViewArray};
    use arrow::datatypes::TimestampMicrosecondType;

    use super::*;
    use crate::{Format, FormatConfig, Parsed, parser};

    fn lines(mut log: AccessLog) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        log.write_all(&mut bytes).expect("memory takes it");
        (bytes, log.broken_rows())
    }

    fn parsed(bytes: &[u8]) -> Parsed {
        let text = String::from_utf8_lossy(bytes);
        let lines = StringViewArray::from_iter_values(text.lines());
        let parser = parser(&FormatConfig::new(Format::Combined)).expect("it has no settings");
        parser.parse(&lines, None)
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let log = || AccessLog::new(7, 3_000).with_broken(0.1).with_response_time();
        assert_eq!(lines(log()), lines(log()));
        assert_ne!(lines(log()), lines(AccessLog::new(8, 3_000)));
    }

    #[test]
    fn exactly_the_broken_lines_are_refused() {
        for log in [AccessLog::new(1, 20_000), AccessLog::new(2, 20_000).with_response_time()] {
            let (bytes, broken) = lines(log.with_broken(0.05));
            let parsed = parsed(&bytes);
            assert_eq!(parsed.refused.len() as u64, broken);
            assert_eq!(parsed.columns[0].len() as u64 + broken, 20_000);
            assert!((800..1_200).contains(&broken), "about 5 % are broken: {broken}");
        }
    }

    #[test]
    fn lines_look_like_those_of_a_real_site() {
        let (bytes, _) = lines(AccessLog::new(3, 20_000));
        assert!((200..280).contains(&(bytes.len() / 20_000)), "{} bytes", bytes.len() / 20_000);
        let columns = parsed(&bytes).columns;
        let times = columns[3].as_primitive::<TimestampMicrosecondType>().values();
        assert!(times.is_sorted(), "times rise");
        assert!(times[19_999] - times[0] > 5 * 86_400_000_000, "over days");
        let mut paths: Vec<_> = columns[6].as_string_view().iter().collect();
        paths.sort_unstable();
        paths.dedup();
        assert!((4_000..16_000).contains(&paths.len()), "{} paths", paths.len());
        assert!(columns[4].null_count() > 0, "scanners ask for what is not HTTP");
        assert!(columns[10].null_count() > 0, "some answers have no body");
    }
}
