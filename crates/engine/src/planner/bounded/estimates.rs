//! Which functions can make more than they got, and how much.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use regex::Regex;

use super::arguments::{ELEMENT_BYTES, Given, bytes};
use super::{PART_BYTES_MAX, ROW_BYTES_MAX};

/// Days of the shortest month.
const DAYS_OF_MONTH: i128 = 28;
/// Nanoseconds of a day.
const NANOS_OF_DAY: i128 = 86_400_000_000_000;
/// Nanoseconds of a millisecond.
const NANOS: u128 = 1_000_000;

/// Comparing so many pairs of letters costs as much as making a byte.
const COMPARED_PER_BYTE: u64 = 100;
/// What one letter of a format for times makes at most: the name of a month, a whole time.
const TIME_BYTES_PER_LETTER: u64 = 32;
/// What a number or a time takes as text.
const NUMBER_BYTES: u64 = 32;

/// How many bytes a function makes of a row, at most or nearly so.
#[derive(Clone, Copy, Debug)]
pub enum Estimate {
    /// It makes them of counts and patterns: none of them was there before.
    Makes(fn(&[Given], usize) -> u64),
    /// It puts together what it got. What it adds to the largest part counts.
    Joins(fn(&[Given], usize) -> u64),
}

use Estimate::{Joins, Makes};

/// The functions with a bound. All others make of a row what one of their arguments takes, or a few
/// times as much.
pub const BOUNDED: &[(&str, Estimate)] = &[
    ("repeat", Makes(repeated)),
    ("lpad", Makes(padded)),
    ("rpad", Makes(padded)),
    ("replace", Makes(replaced)),
    ("regexp_replace", Makes(replaced_by_pattern)),
    ("regexp_match", Makes(captured)),
    ("levenshtein", Makes(compared)),
    ("to_char", Makes(timed)),
    ("array_repeat", Makes(|arguments, row| listed_often(arguments, 0, row))),
    ("array_resize", Makes(|arguments, row| listed_often(arguments, 2, row))),
    ("range", Makes(series)),
    ("generate_series", Makes(series)),
    ("array_replace_n", Joins(exchanged)),
    ("array_replace_all", Joins(exchanged)),
    ("array_to_string", Joins(listed)),
    ("concat_ws", Joins(separated)),
    ("concat", Joins(joined)),
    ("||", Joins(joined)),
    ("overlay", Joins(joined)),
    ("array_append", Joins(joined)),
    ("array_concat", Joins(joined)),
    ("array_prepend", Joins(joined)),
    ("array_replace", Joins(joined)),
    ("array_union", Joins(joined)),
    ("arrays_zip", Joins(joined)),
    ("make_array", Joins(joined)),
    ("map", Joins(joined)),
    ("named_struct", Joins(joined)),
    ("struct", Joins(joined)),
];

/// Whether no row of a call that joins its arguments can come to a bound, and all together cannot.
/// Asked once per batch.
pub fn are_short(arguments: &[Given], rows: usize) -> bool {
    // Each of them may stand between all others.
    let often = arguments.len().max(1) as u64;
    let extents = arguments.iter().map(|argument| argument.extent(rows));
    let (largest, all) = extents.fold((0_u64, 0_u64), |(largest, all), (one, of_all)| {
        (largest.saturating_add(one), all.saturating_add(of_all))
    });
    let is_flat = arguments.iter().all(|argument| !argument.values.data_type().is_nested());
    is_flat
        && largest.saturating_mul(often) <= ROW_BYTES_MAX
        && all.saturating_mul(often) <= PART_BYTES_MAX
}

/// Bytes of the largest argument.
pub fn largest(arguments: &[Given], row: usize) -> u64 {
    arguments.iter().map(|argument| argument.bytes(row)).max().unwrap_or_default()
}

fn text(arguments: &[Given], index: usize, row: usize) -> &str {
    arguments.get(index).map_or("", |argument| argument.text(row))
}

/// How many bytes a value takes in a list.
fn size(arguments: &[Given], index: usize, row: usize) -> u64 {
    arguments.get(index).map_or(0, |argument| argument.bytes(row)).max(ELEMENT_BYTES)
}

fn number(arguments: &[Given], index: usize, row: usize) -> Option<i64> {
    arguments.get(index).and_then(|argument| argument.number(row))
}

/// A number as a count: 0 where it is negative or none.
fn count(arguments: &[Given], index: usize, row: usize) -> u64 {
    number(arguments, index, row).map_or(0, |number| u64::try_from(number).unwrap_or(0))
}

fn times(bytes: u64, count: u64) -> u64 {
    bytes.saturating_mul(count)
}

fn repeated(arguments: &[Given], row: usize) -> u64 {
    times(text(arguments, 0, row).len() as u64, count(arguments, 1, row))
}

fn compared(arguments: &[Given], row: usize) -> u64 {
    let [one, other] = [0, 1].map(|index| text(arguments, index, row).len() as u64);
    times(one, other) / COMPARED_PER_BYTE
}

/// `to_char(time, format)`.
fn timed(arguments: &[Given], row: usize) -> u64 {
    times(TIME_BYTES_PER_LETTER, text(arguments, 1, row).len() as u64)
}

/// `array_repeat(value, count)` and `array_resize(list, count, value)`.
fn listed_often(arguments: &[Given], value: usize, row: usize) -> u64 {
    times(size(arguments, value, row), count(arguments, 1, row))
}

fn joined(arguments: &[Given], row: usize) -> u64 {
    arguments.iter().map(|argument| argument.bytes(row)).fold(0, u64::saturating_add)
}

/// `concat_ws(separator, text, …)`.
fn separated(arguments: &[Given], row: usize) -> u64 {
    let [separator, parts @ ..] = arguments else { return 0 };
    let there = parts.iter().filter(|part| !part.is_null(row)).count() as u64;
    joined(parts, row).saturating_add(times(separator.bytes(row), there.saturating_sub(1)))
}

/// `array_to_string(list, separator[, text for nulls])`.
fn listed(arguments: &[Given], row: usize) -> u64 {
    let Some(list) = arguments.first().and_then(|list| list.list(row)) else { return 0 };
    let [separator, null] = [1, 2].map(|index| text(arguments, index, row).len() as u64);
    let (elements, own) = written(&list);
    let nulls = times(null, elements);
    own.saturating_add(times(separator, elements.saturating_sub(1))).saturating_add(nulls)
}

/// How many values stand in a list and the lists in it, and what they take as text.
fn written(list: &dyn Array) -> (u64, u64) {
    let elements = list.len() as u64;
    let inner = match list.data_type() {
        DataType::List(_) => {
            let lists = list.as_list::<i32>();
            let offsets = lists.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[lists.len()] as usize);
            Some(lists.values().slice(from, to - from))
        }
        DataType::LargeList(_) => {
            let lists = list.as_list::<i64>();
            let offsets = lists.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[lists.len()] as usize);
            Some(lists.values().slice(from, to - from))
        }
        _ => None,
    };
    match inner {
        Some(inner) => {
            let (more, own) = written(&inner);
            (elements.saturating_add(more), own)
        }
        None if list.data_type().is_primitive() => (elements, times(NUMBER_BYTES, elements)),
        None => (elements, bytes(list, 0, list.len())),
    }
}

/// `array_replace_all(list, from, to)`: each of them may be the one.
fn exchanged(arguments: &[Given], row: usize) -> u64 {
    let Some(list) = arguments.first().and_then(|list| list.list(row)) else { return 0 };
    let own = size(arguments, 0, row);
    let each = size(arguments, 2, row);
    let at_most = own.saturating_add(times(each, list.len() as u64));
    let Some(texts) = list.as_string_view_opt().filter(|_| at_most > ROW_BYTES_MAX) else {
        return at_most;
    };
    let wanted = text(arguments, 1, row);
    let found = texts.iter().flatten().filter(|text| *text == wanted).count();
    own.saturating_add(times(each, found as u64))
}

/// `regexp_match(text, pattern)`: each pair of brackets may take all of the text.
fn captured(arguments: &[Given], row: usize) -> u64 {
    let whole = text(arguments, 0, row).len() as u64;
    let brackets = text(arguments, 1, row).bytes().filter(|byte| *byte == b'(').count() as u64;
    times(whole, brackets.saturating_sub(1))
}

/// `lpad(text, characters[, fill])` of a text that is there.
fn padded(arguments: &[Given], row: usize) -> u64 {
    match arguments.iter().any(|argument| argument.is_null(row)) {
        true => 0,
        false => count(arguments, 1, row),
    }
}

/// `replace(text, from, to)`, counted only where it may grow beyond the bound.
fn replaced(arguments: &[Given], row: usize) -> u64 {
    let [whole, from, to] = [0, 1, 2].map(|index| text(arguments, index, row));
    let at_most = times(to.len() as u64, whole.len() as u64 + 1).saturating_add(whole.len() as u64);
    if at_most <= ROW_BYTES_MAX {
        return at_most;
    }
    let found = match from.is_empty() {
        true => whole.chars().count() + 1,
        false => whole.matches(from).count(),
    };
    match found {
        0 => 0,
        found => times(to.len() as u64, found as u64),
    }
}

/// `regexp_replace(text, pattern, replacement[, flags])`, counted only where it may grow beyond the
/// bound; `\\1` and `$1` in a replacement stand for what was found.
fn replaced_by_pattern(arguments: &[Given], row: usize) -> u64 {
    let [whole, pattern, to, flags] = [0, 1, 2, 3].map(|index| text(arguments, index, row));
    let groups = to.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count() as u64;
    let whole_bytes = whole.len() as u64;
    let at_most =
        times(to.len() as u64, whole_bytes + 1).saturating_add((groups + 1) * whole_bytes);
    if at_most <= ROW_BYTES_MAX {
        return at_most;
    }
    let Ok(pattern) = Regex::new(pattern) else { return 0 };
    let found = pattern.find_iter(whole).take(if flags.contains('g') { usize::MAX } else { 1 });
    let of_one = |found: regex::Match<'_>| to.len() as u64 + groups * found.len() as u64;
    found.map(of_one).fold(0, u64::saturating_add)
}

/// `range([start,] stop[, step])` over whole numbers, or over times with a span between them.
fn series(arguments: &[Given], row: usize) -> u64 {
    let number = |index| number(arguments, index, row).map(i128::from);
    let (start, stop) = match arguments.len() {
        1 => (Some(0), number(0)),
        _ => (number(0), number(1)),
    };
    let (Some(start), Some(stop)) = (start, stop) else { return 0 };
    let (distance, step) = match arguments.get(2).filter(|step| step.is_span()) {
        Some(step) => match step.span(row) {
            None => return 0,
            // Times are known to the millisecond.
            Some(span) => (((stop - start).unsigned_abs() + 1) * NANOS, shortest(span)),
        },
        None => ((stop - start).unsigned_abs(), number(2).unwrap_or(1).unsigned_abs()),
    };
    let steps = u64::try_from(distance / step.max(1));
    steps.unwrap_or(u64::MAX).saturating_mul(ELEMENT_BYTES)
}

/// Nanoseconds that a span takes at least, in whatever months it falls.
fn shortest(span: IntervalMonthDayNano) -> u128 {
    let days = i128::from(span.months) * DAYS_OF_MONTH + i128::from(span.days);
    (days * NANOS_OF_DAY + i128::from(span.nanoseconds)).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateDefaults;

    use super::*;

    /// Functions that make of a row no more than a few times what they got. A new function stands
    /// here or among [`BOUNDED`].
    const MODEST: &str = "\
        abs acos acosh array_add array_any_value array_avg array_compact array_dims \
        array_distance array_distinct array_element array_except array_has array_has_all \
        array_has_any array_intersect array_length array_max array_min array_ndims \
        array_normalize array_pop_back array_pop_front array_position array_positions \
        array_product array_remove array_remove_all array_remove_n array_reverse array_scale \
        array_slice array_sort array_subtract array_sum arrow_cast arrow_field arrow_metadata \
        arrow_try_cast arrow_typeof ascii asin asinh atan atan2 atanh bit_length btrim \
        cardinality cast_to_type cbrt ceil character_length chr coalesce contains cos cosh \
        cosine_distance cot current_date current_time date_bin date_part date_trunc decode \
        degrees digest empty encode ends_with exp factorial file_row_index find_in_set flatten \
        floor from_unixtime gcd get_field greatest hash initcap inner_product input_file_name \
        ip_in ip_mask ip_only isnan iszero lcm least left ln log log10 log2 lower ltrim \
        make_date make_time map_entries map_extract map_keys map_values md5 nanvl now nullif nvl \
        nvl2 octet_length parse_query parse_url pi power radians random redact regexp_count \
        regexp_instr regexp_like reverse right round rtrim sha224 sha256 sha384 sha512 signum \
        sin sinh split_part sqrt starts_with string_to_array strpos substr substr_index tan tanh \
        to_date to_hex to_local_time to_time to_timestamp to_timestamp_micros \
        to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime translate trunc \
        try_cast_to_type union_extract union_tag upper uuid version with_metadata";

    #[test]
    fn every_function_is_known_to_be_bounded_or_to_need_no_bound() {
        let functions = SessionStateDefaults::default_scalar_functions();
        let ours = crate::functions();
        let functions = functions.iter().map(|function| function.name().to_owned());
        let functions = functions.chain(ours.iter().map(|function| function.name().to_owned()));
        let is_bounded = |name: &str| BOUNDED.iter().any(|(known, _)| *known == name);
        let all: Vec<_> = functions.collect();
        let mut unknown: Vec<_> = all.iter().filter(|name| !is_bounded(name)).collect();
        let modest: Vec<_> = MODEST.split(' ').collect();
        unknown.retain(|name| !modest.contains(&name.as_str()));
        assert!(unknown.is_empty(), "{unknown:?}");
        let is_there = |name: &str| name == "||" || all.iter().any(|known| known == name);
        let bounded = BOUNDED.iter().map(|(name, _)| *name);
        let gone: Vec<_> =
            bounded.chain(modest.iter().copied()).filter(|name| !is_there(name)).collect();
        assert!(gone.is_empty(), "{gone:?}");
    }
}
