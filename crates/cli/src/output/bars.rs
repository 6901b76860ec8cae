//! Numbers as horizontal bars, for terminals.

use std::io::{self, Write};

/// Eighths of a cell, from one to seven.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Prints a labelled bar for each number; the greatest is `width` cells long.
///
/// # Errors
/// Those of `out`.
pub fn print(out: &mut impl Write, bars: &[(String, u64)], width: usize) -> io::Result<()> {
    let greatest = bars.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let longest = |text: fn(&(String, u64)) -> usize| bars.iter().map(text).max().unwrap_or(0);
    let label_width = longest(|(label, _)| label.chars().count());
    let number_width = longest(|(_, number)| number.to_string().len());
    for (label, number) in bars {
        let bar = bar(*number, greatest, width);
        writeln!(out, "  {label:<label_width$}  {number:>number_width$}  {bar}")?;
    }
    Ok(())
}

fn bar(number: u64, greatest: u64, width: usize) -> String {
    if number == 0 {
        return String::new();
    }
    let eighths = u128::from(number) * width as u128 * 8 / u128::from(greatest);
    // What is there is seen, however small it is.
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).max(1);
    let mut bar = "█".repeat(eighths / 8);
    if let Some(part) = (eighths % 8).checked_sub(1) {
        bar.push(EIGHTHS[part]);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_and_never_vanish() {
        let numbers = [("a", 80), ("bb", 40), ("c", 1), ("d", 0)];
        let bars: Vec<_> = numbers.iter().map(|(label, n)| ((*label).to_owned(), *n)).collect();
        let mut out = Vec::new();
        print(&mut out, &bars, 4).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "  a   80  ████\n  bb  40  ██\n  c    1  ▏\n  d    0  \n");
    }
}
