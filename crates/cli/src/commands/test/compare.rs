//! Compares what came out with what a test expects: the columns that it names, row by row.

use chrono::DateTime;
use contract::Section;
use plan::TestCase;
use serde_json::Value;

use super::rehearsal::{Seen, json};

/// Every difference, as a sentence; none if the test passes.
pub fn differences(case: &TestCase, seen: &Seen) -> Vec<String> {
    let mut all = Vec::new();
    for (node, expected) in &case.expect {
        let found = seen.rows.get(node).map_or(&[][..], Vec::as_slice);
        compare(node, expected, found, &mut all);
    }
    if let Some(expected) = &case.dead_letters {
        compare("dead_letters", expected, &seen.dead_letters, &mut all);
    }
    all
}

fn compare(node: &str, expected: &[Section], found: &[Value], all: &mut Vec<String>) {
    for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
        for entry in expected.entries() {
            let row = format!("{node}, row {}", number + 1);
            match found.get(&*entry.key) {
                None => {
                    let columns = found.as_object().into_iter().flat_map(|row| row.keys());
                    let hint = Section::did_you_mean(&entry.key, columns.map(String::as_str));
                    all.push(format!("{row}: there is no column {:?}; {hint}", entry.key));
                }
                Some(found) if is_same(&json(&entry.value), found) => {}
                Some(found) => {
                    let expected = json(&entry.value);
                    all.push(format!("{row}: {} is {found}, expected {expected}", entry.key));
                }
            }
        }
    }
    for missing in expected.iter().skip(found.len()) {
        all.push(format!("{node}: no row {}", json(missing)));
    }
    for surplus in found.iter().skip(expected.len()) {
        all.push(format!("{node}: one row too many: {surplus}"));
    }
}

/// Numbers are the same by value and times by instant, however they are written.
fn is_same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(expected), Value::Number(found)) => {
            expected == found || expected.as_f64() == found.as_f64()
        }
        (Value::String(expected), Value::String(found)) => {
            expected == found || instant(expected).is_some_and(|time| Some(time) == instant(found))
        }
        _ => expected == found,
    }
}

fn instant(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_times_are_compared_by_value() {
        assert!(is_same(&json!(1), &json!(1.0)));
        assert!(is_same(&json!("2026-01-01T01:00:00+01:00"), &json!("2026-01-01T00:00:00Z")));
        assert!(!is_same(&json!("1"), &json!(1)));
        assert!(!is_same(&json!(null), &json!("")));
    }
}
