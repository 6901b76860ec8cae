//! The answers as text: one paragraph, then bars.

use std::io::{self, Write};

use contract::Result;
use indicatif::HumanCount;
use runtime::FirstRefused;
use serde_json::{Value, json};

use super::mill::Milled;
use crate::arguments::Global;
use crate::output;
use crate::output::rows::visible;
use crate::output::{bars, counted};

/// Cells of a line where nobody says.
pub const WIDTH: usize = 100;
/// The least and the most that panels use.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=160;
/// Characters of the reason of a refusal.
const REASON_CHARS_MAX: usize = 200;
/// Cells beside label and bar: margins, and a number.
const BESIDE: usize = 16;

/// The width of the terminal, or [`WIDTH`].
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(WIDTH).clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// Says where the dashboard is.
///
/// # Errors
/// External: stdout cannot be written.
pub fn address(global: &Global, url: &str) -> Result<()> {
    output::value(global, &json!({ "url": url }), |out| writeln!(out, "{url}"))
}

/// Says what is in the lake.
///
/// # Errors
/// External: stdout cannot be written.
pub fn word(global: &Global, milled: &Milled) -> Result<()> {
    output::value(global, &json!({ "milled": milled }), |out| summary(out, milled))
}

/// What is in the lake, and the first line that is not.
///
/// # Errors
/// Those of `out`.
pub fn summary(out: &mut impl Write, milled: &Milled) -> io::Result<()> {
    let Milled { rows, refused, read, seconds, .. } = milled;
    let rows = counted(*rows, "row");
    match *read {
        0 => writeln!(out, "Nothing new: {rows}")?,
        read => writeln!(out, "{} read in {seconds:.1} s; {rows}", counted(read, "line"))?,
    }
    let Some(first) = &milled.first_refused else { return Ok(()) };
    let text = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    let first = FirstRefused {
        split: text("split"),
        position: first["position"].as_i64().unwrap_or_default(),
        reason: text("reason"),
        line: Some(text("original")),
    };
    writeln!(out, "{}", self::refused(*refused, &first))
}

/// How many lines were refused, and the first of them.
pub fn refused(lines: u64, first: &FirstRefused) -> String {
    let FirstRefused { split, position, reason, line } = first;
    format!(
        "{} refused; the first, {split}@{position}: {}\n  {}",
        counted(lines, "line"),
        short(reason, REASON_CHARS_MAX),
        short(line.as_deref().unwrap_or_default(), REASON_CHARS_MAX)
    )
}

/// The panels, in so many cells.
///
/// # Errors
/// Those of `out`.
pub fn panels(out: &mut impl Write, answers: &Value, width: usize) -> io::Result<()> {
    let summary = &answers["summary"];
    let count = |key: &str, one: &str| summary[key].as_u64().map(|number| counted(number, one));
    let mut facts = vec![count("requests", "request").unwrap_or_else(|| counted(0, "request"))];
    facts.extend(count("visitors", "visitor"));
    let bytes = summary["bytes"].as_u64().filter(|bytes| *bytes > 0);
    facts.extend(bytes.map(|bytes| format!("{} sent", indicatif::DecimalBytes(bytes))));
    facts.extend(count("errors", "server error"));
    writeln!(out, "\n{}", facts.join(", "))?;
    if let (Some(first), Some(last)) = (summary["first"].as_str(), summary["last"].as_str()) {
        writeln!(out, "{first} to {last}")?;
    }
    series(out, &answers["timeseries"], width)?;
    let classes = list(&answers["classes"]).iter().filter_map(|class| {
        let count = class["count"].as_u64().filter(|count| *count > 0)?;
        Some((class["class"].as_str()?.to_owned(), count))
    });
    panel(out, "Status classes", classes.collect(), width)?;
    for top in list(&answers["top"]) {
        let rows = list(&top["rows"]).iter().map(|row| {
            let label = match &row["value"] {
                Value::Null => "(none)".to_owned(),
                Value::String(text) if text.is_empty() => "(none)".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (label, row["count"].as_u64().unwrap_or_default())
        });
        let title = format!("Top {}", top["column"].as_str().unwrap_or_default());
        panel(out, &title, rows.collect(), width)?;
    }
    Ok(())
}

fn series(out: &mut impl Write, series: &Value, width: usize) -> io::Result<()> {
    let points = list(&series["points"]).iter().filter_map(|point| {
        let label = point["ts"].as_str()?.replace(":00Z", "").replace("T00:00", "");
        Some((label, point["requests"].as_u64()?))
    });
    let interval = series["interval"].as_str().unwrap_or_default();
    panel(out, &format!("Requests per {interval} (UTC)"), points.collect(), width)?;
    let far = &series["outliers"];
    if !far.is_object() {
        return Ok(());
    }
    let number = |key: &str| far[key].as_u64().unwrap_or_default();
    let (start, end) = (&far["start"], &far["end"]);
    let rows = HumanCount(number("before") + number("after"));
    let (start, end) = (start.as_str().unwrap_or_default(), end.as_str().unwrap_or_default());
    writeln!(out, "  {rows} lie far outside; without them: --from {start} --to {end}")
}

fn panel(
    out: &mut impl Write,
    title: &str,
    rows: Vec<(String, u64)>,
    width: usize,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let room = width.saturating_sub(BESIDE);
    let longest = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
    let label_width = longest.min(room / 2);
    let rows = rows.iter().map(|(label, number)| (short(label, label_width), *number));
    writeln!(out, "\n{title}")?;
    bars::print(out, &rows.collect::<Vec<_>>(), room - label_width)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// So many characters of a text, nothing of which the terminal obeys.
fn short(text: &str, chars_max: usize) -> String {
    let shown = visible(text);
    if shown.chars().count() <= chars_max {
        return shown;
    }
    let kept = shown.chars().take(chars_max.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_fit_the_width_and_obey_nothing() {
        let long = "/a".repeat(100);
        let answers = json!({
            "summary": {"requests": 12345, "visitors": null, "bytes": 0, "errors": 7,
                        "first": "2026-03-01T00:00:00Z", "last": "2026-03-02T00:00:00Z"},
            "timeseries": {"interval": "day", "outliers": {"before": 1, "after": 0,
                           "start": "2026-03-01", "end": "2026-03-02"},
                           "points": [{"ts": "2026-03-01T00:00:00Z", "requests": 12000}]},
            "classes": [{"class": "1xx", "count": 0}, {"class": "2xx", "count": 12000}],
            "top": [{"column": "path", "rows": [{"value": long, "count": 9000},
                                                {"value": "\u{1b}[2J", "count": 1}]}],
        });
        let mut out = Vec::new();
        panels(&mut out, &answers, 60).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("12,345 requests, 7 server errors\n"), "{text}");
        assert!(text.contains("Requests per day (UTC)\n  2026-03-01  12000  █"), "{text}");
        assert!(
            text.contains("1 lie far outside; without them: --from 2026-03-01 --to 2026-03-02")
        );
        assert!(text.contains("\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
        assert!(!text.contains("1xx"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 68), "{text}");
    }
}
