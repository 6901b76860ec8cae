//! Lines of every named format with the whole row that comes of them, without nulls.

use crate::Format;

/// Three lines each: the format, a line as its vendor documents it, the row as `column=value`.
const TEXT: &str = include_str!("samples.txt");

/// The format, the line and the row of each sample.
pub fn samples() -> Vec<(Format, &'static str, &'static str)> {
    let sample = |text: &'static str| {
        let mut lines = text.trim_start_matches('\n').split('\n');
        let mut line = || lines.next().expect("a sample has three lines");
        (Format::named(line()).expect("it has this name"), line(), line())
    };
    TEXT.split("\n\n").map(sample).collect()
}
