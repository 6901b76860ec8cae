//! What DataFusion says of a query, in words for whoever wrote it.
//!
//! Its messages name the layers that they came through, list every signature of a function, and
//! ask for reports of bugs that are none. What is left here is what was wrong, and the way out.

use std::fmt::Write;

use contract::Section;

/// Before these words stands what is wrong, after them what DataFusion asks of its own users.
const PLEA: &str = "This issue was likely caused by a bug in DataFusion";
/// Where the plea ends.
const PLEA_END: &str = "/issues.";
/// Before these words stands how it was found out, after them the call and all that would do.
const NO_MATCH: &str = "No function matches the given name and argument types '";
/// What stands before the words of a function that looks at its arguments itself.
const OWN_CHECK: &str = "user-defined coercion failed";
/// What a cast says of a value that has no place in the other type.
const OUT_OF_RANGE: &str = "converted value exceeds the representable i64 range";
/// Times with a zone are counted in nanoseconds.
const RANGE_HINT: &str = "leave such times out: WHERE ts BETWEEN '1678-01-01' AND '2261-12-31'";
/// Layers that a message came through.
const LAYERS: [&str; 10] = [
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "Internal error: ",
    "Invalid argument error: ",
    "Arrow error: ",
    "Cast error: ",
    "Compute error: ",
    "Parser error: ",
    "Schema error: ",
];

/// A message with the way out where it is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Worded {
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub hint: Option<String>,
}

/// Says in our words what a message of DataFusion says.
pub fn reworded(text: &str) -> Worded {
    let text = without_plea(text);
    let text = match text.split_once(NO_MATCH) {
        // A function of ours says better than any list what it takes.
        Some((cause, _)) if cause.contains(OWN_CHECK) => cause.trim_end().to_owned(),
        Some((_, call)) => return mismatch(call),
        None => text,
    };
    let message = without_layers(&text).to_owned();
    if message.contains(OUT_OF_RANGE) && message.contains("Timestamp(ns") {
        return Worded {
            message: "a time before 1678 or after 2261 cannot be shown in another zone".to_owned(),
            hint: Some(RANGE_HINT.to_owned()),
        };
    }
    let hint = operands(&message).map(|types| cast_hint(&types));
    Worded { message, hint }
}

/// The hint for a column that is not there: SQL takes a name without quotes for one in lower case.
pub fn missing_column<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<_> = valid.into_iter().collect();
    match valid.iter().find(|valid| valid.eq_ignore_ascii_case(name)) {
        Some(found) if !found.contains(char::is_uppercase) => format!("did you mean {found:?}?"),
        Some(found) => format!("a name with capitals stands in double quotes: \"{found}\""),
        None => Section::did_you_mean(name, valid),
    }
}

fn without_plea(text: &str) -> String {
    let Some((before, plea)) = text.split_once(PLEA) else { return text.to_owned() };
    let after = plea.split_once(PLEA_END).map_or("", |(_, after)| after);
    format!("{}{after}", before.trim_end_matches(['\n', '.', ' ']))
}

/// The innermost cause, without the kinds of errors before it.
fn without_layers(text: &str) -> &str {
    let mut text = text.rsplit_once("\ncaused by\n").map_or(text, |(_, cause)| cause);
    while let Some(rest) = LAYERS.iter().find_map(|layer| text.strip_prefix(layer)) {
        text = rest;
    }
    text.rsplit_once("Error during planning: ").map_or(text, |(_, message)| message)
}

/// What `sum(Utf8View)' … Candidate functions: sum(Int64) …` says.
fn mismatch(call: &str) -> Worded {
    let (call, rest) = call.split_once('\'').unwrap_or((call, ""));
    let (name, types) = call.split_once('(').unwrap_or((call, ""));
    let types: Vec<_> = split_types(types.trim_end_matches(')'));
    let given: Vec<_> = types.iter().map(|given| kind(given)).collect();
    let candidates: Vec<_> = rest
        .split_once("Candidate functions:")
        .map_or("", |(_, candidates)| candidates)
        .lines()
        .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')'))
        .collect();
    let same_count = |candidate: &&str| split_types(candidate).len() == given.len();
    let fitting: Vec<_> = candidates.iter().copied().filter(same_count).collect();
    let counted = !candidates.is_empty() && fitting.is_empty();
    let message = match given.as_slice() {
        [] => format!("{name}() needs arguments"),
        given if counted => format!("{name}() does not take {} arguments", given.len()),
        [one] => format!("{name}() does not take {one}"),
        several => format!("{name}() does not take ({})", several.join(", ")),
    };
    if counted || given.is_empty() {
        let forms = candidates.iter().map(|candidate| format!("{name}({candidate})"));
        let forms: Vec<_> = forms.collect();
        let hint = (!forms.is_empty()).then(|| format!("it is called as {}", forms.join(" or ")));
        return Worded { message, hint };
    }
    let takes_text = fitting.iter().any(|candidate| candidate.contains("String"));
    let hint = match takes_text && !given.contains(&TEXT) {
        true => "cast it: CAST(x AS TEXT)".to_owned(),
        false => cast_hint(&given),
    };
    Worded { message, hint: Some(hint) }
}

const TEXT: &str = "text";

/// What an Arrow type is to people.
fn kind(data_type: &str) -> &'static str {
    let is = |part: &str| data_type.contains(part);
    match data_type {
        _ if is("Utf8") => TEXT,
        _ if is("Timestamp") || is("Date") || is("Time") => "a time",
        _ if is("Int") && !is("Interval") => "a whole number",
        _ if is("Float") || is("Decimal") => "a number",
        "Boolean" => "true or false",
        _ if is("Interval") || is("Duration") => "a span of time",
        "Null" => "null",
        _ => "values of this type",
    }
}

/// The types on both sides of an operator that cannot join them.
fn operands(message: &str) -> Option<Vec<&'static str>> {
    let begins = ["Cannot coerce arithmetic expression ", "Cannot infer common argument type for "];
    let rest = begins.iter().find_map(|begin| message.strip_prefix(begin))?;
    let words = rest.split_whitespace().filter(|word| word.contains(char::is_uppercase));
    Some(words.map(kind).filter(|kind| *kind != "values of this type").collect())
}

fn cast_hint(given: &[&str]) -> String {
    let mut hint = "cast it: CAST(x AS BIGINT)".to_owned();
    if given.contains(&TEXT) {
        // Writing into a text does not fail.
        let _ = write!(hint, ", or AS DOUBLE, or AS TIMESTAMP where it holds a time");
    }
    hint
}

/// The types of a list, whose own commas stand in brackets.
fn split_types(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut types) = (0_i32, 0, Vec::new());
    for (at, sign) in list.char_indices() {
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                types.push(list[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    types.push(list[from..].trim());
    types.retain(|one| !one.is_empty());
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, message: &str, hint: &str) {
        let worded = reworded(text);
        assert_eq!(worded.message, message, "{text}");
        assert_eq!(worded.hint.as_deref().unwrap_or("-"), hint, "{text}");
    }

    const CAST: &str =
        "cast it: CAST(x AS BIGINT), or AS DOUBLE, or AS TIMESTAMP where it holds a time";

    #[test]
    fn a_type_that_does_not_fit_says_cast_it() {
        check(
            "Internal error: Function 'sum' failed to match any signature, errors: Error during \
             planning: Function 'sum' requires Decimal, but received String (DataType: \
             Utf8View)..\nThis issue was likely caused by a bug in DataFusion's code. Please help \
             us to resolve this by filing a bug report in our issue tracker: \
             https://github.com/apache/datafusion/issues. No function matches the given name and \
             argument types 'sum(Utf8View)'. You might need to add explicit type casts.\n\t\
             Candidate functions:\n\tsum(Decimal)\n\tsum(Int64)",
            "sum() does not take text",
            CAST,
        );
        check(
            "No function matches the given name and argument types 'lower(Int64)'. You might \
             need to add explicit type casts.\n\tCandidate functions:\n\tlower(String)",
            "lower() does not take a whole number",
            "cast it: CAST(x AS TEXT)",
        );
        check(
            "Cannot coerce arithmetic expression Utf8View + Int64 to valid types",
            "Cannot coerce arithmetic expression Utf8View + Int64 to valid types",
            CAST,
        );
        check(
            "No function matches the given name and argument types \
             'p(Dictionary(Int32, Utf8), Float64)'. Candidate functions:\n\tp(Float, Float64)",
            "p() does not take (text, a number)",
            CAST,
        );
    }

    #[test]
    fn a_time_that_no_zone_can_show_says_which_can() {
        check(
            "Arrow error: Cast error: Cannot cast Timestamp(\u{b5}s, \"UTC\") value \
             -62167222408000000 to Timestamp(ns): converted value exceeds the representable i64 \
             range",
            "a time before 1678 or after 2261 cannot be shown in another zone",
            RANGE_HINT,
        );
    }

    #[test]
    fn a_wrong_number_of_arguments_says_how_it_is_called() {
        check(
            "No function matches the given name and argument types 'round(Int64, Int64, Int64)'. \
             Candidate functions:\n\tround(Float64, Int32)\n\tround(Float64)",
            "round() does not take 3 arguments",
            "it is called as round(Float64, Int32) or round(Float64)",
        );
    }

    #[test]
    fn nobody_is_asked_to_report_a_bug_to_others() {
        check(
            "Internal error: something.\nThis issue was likely caused by a bug in DataFusion's \
             code. Please help us to resolve this by filing a bug report in our issue tracker: \
             https://github.com/apache/datafusion/issues",
            "something",
            "-",
        );
    }

    #[test]
    fn the_layers_of_a_message_are_left_out() {
        check(
            "Optimizer rule 'simplify_expressions' failed\ncaused by\nArrow error: Cast error: \
             Cannot cast string 'a' to value of Int64 type",
            "Cannot cast string 'a' to value of Int64 type",
            "-",
        );
    }

    #[test]
    fn a_name_that_differs_in_case_wants_quotes() {
        let valid = ["ClientHost", "Duration", "status"];
        let check = |name, expect| assert_eq!(missing_column(name, valid), expect);
        check("clienthost", "a name with capitals stands in double quotes: \"ClientHost\"");
        check("statsu", "did you mean \"status\"?");
        check("Status", "did you mean \"status\"?");
    }
}
