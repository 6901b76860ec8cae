//! Finds the fields of a line.
//!
//! Decides alone which lines are refused: what it accepts, [`super::columns`] can store.
//!
//! A field that could hold what stands after it ends at the first place from which on the rest of
//! the line fits. A line is accepted only if no other place fits as well.

use memchr::memchr;

use super::kind::Kind;
use super::layout::{End, Escape, Field, Layout};
use super::marks::Marks;
use super::refusal::{Broken, Want};
use super::value::{ABSENT, Reading, fits, integer, value};
use crate::timestamp::ClfClock;

/// Fields shorter than this are the rule outside quotes; a call would cost more than a loop.
const SHORT_BYTES: usize = 24;

/// Places in one line that are tried as the end of a field.
const PLACES_MAX: usize = 2_000;

/// A field as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'l> {
    /// The field.
    pub field: &'l Field,
    /// Its first byte.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
    /// Whether it is there, and how it is written.
    pub state: State,
    /// The number or time, where it holds one.
    pub number: i64,
}

/// Whether a field is there, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `-`, or left out.
    Missing,
    /// As it stands.
    Plain,
    /// With backslashes before some bytes.
    Escaped,
}

/// Reads lines of one layout.
pub struct Scanner<'l> {
    layout: &'l Layout,
    clock: ClfClock,
    marks: Marks,
    found: Vec<Found<'l>>,
    reading: Reading,
    places_left: usize,
    /// Fields, and where they begin, from which on the rest of the line does not fit.
    dead_ends: Vec<(usize, usize)>,
}

/// Where the search for the end of a field goes on if the rest of the line does not fit.
#[derive(Clone, Copy)]
struct Place {
    /// The field.
    index: usize,
    /// Where it begins.
    start: usize,
    /// Where its end is looked for.
    from: usize,
}

impl<'l> Scanner<'l> {
    /// A scanner that has seen nothing.
    pub fn new(layout: &'l Layout) -> Self {
        let missing =
            |field| Found { field, start: 0, end: 0, state: State::Missing, number: ABSENT };
        let found = layout.fields.iter().map(missing).collect();
        let clock = ClfClock::default();
        let (reading, places_left) = (Reading::Strict, 0);
        let (marks, dead_ends) = (Marks::default(), Vec::new());
        Self { layout, clock, marks, found, reading, places_left, dead_ends }
    }

    /// The fields of the last line that was accepted.
    pub fn fields(&self) -> &[Found<'l>] {
        &self.found
    }

    /// Divides a line as [`Self::scan`] does at its first try, but for what numbers and times hold:
    /// [`super::block`] reads them for many lines at once. False says only that it is to be
    /// scanned. This and what it calls is one function, so that what stands at the end of a field
    /// is known where the next one begins.
    #[inline(always)]
    pub fn divide(&mut self, line: &str) -> bool {
        if self.layout.is_loose {
            return false;
        }
        self.reading = Reading::Strict;
        let divided = self.begin(line).and_then(|line| {
            self.read_from::<false>(self.first_place(), line, &mut None)?;
            self.refuse_shifted(line)
        });
        divided.is_ok()
    }

    /// Finds the fields of a line, and reads what they hold.
    #[inline(never)]
    pub fn scan(&mut self, line: &str) -> Result<(), Broken<'l>> {
        let line = self.begin(line)?;
        self.places_left = PLACES_MAX;
        self.reading = Reading::Strict;
        match self.read(line) {
            Err(broken) if self.layout.is_lenient && broken.may_be_unusual() => {
                self.reading = Reading::Lenient;
                self.read(line)
            }
            read => read,
        }
    }

    /// What a divided field holds, as [`value`] says it.
    #[inline]
    pub fn value(&mut self, field: &Field, text: &str) -> Option<i64> {
        value(field, &mut self.clock, text)
    }

    /// The line without blanks at its end, marked.
    #[inline(always)]
    fn begin<'t>(&mut self, line: &'t str) -> Result<&'t str, Broken<'l>> {
        if line.as_bytes().first().is_none_or(u8::is_ascii_whitespace) && line.trim().is_empty() {
            return Err(Broken { at: 0, want: Want::Text });
        }
        let line = match line.as_bytes().last() {
            Some(b' ' | b'\t' | b'\r') => line.trim_end_matches([' ', '\t', '\r']),
            _ => line,
        };
        let prefix = &self.layout.prefix;
        if !prefix.begins(line.as_bytes()) {
            return Err(Broken { at: 0, want: Want::Prefix(prefix) });
        }
        self.marks.read(line.as_bytes());
        Ok(line)
    }

    #[inline]
    fn first_place(&self) -> Place {
        let start = self.layout.prefix.len();
        Place { index: 0, start, from: start }
    }

    #[inline]
    fn read(&mut self, line: &str) -> Result<(), Broken<'l>> {
        let mut searched = None;
        if let Err(broken) = self.read_from::<true>(self.first_place(), line, &mut searched) {
            self.search_on(searched, line, broken)?;
        }
        self.refuse_shifted(line)?;
        if self.layout.is_loose { self.check_unique(line) } else { Ok(()) }
    }

    /// Refuses a line in which a value begins or ends with the `-` of a field of its own.
    #[inline(always)]
    fn refuse_shifted(&self, line: &str) -> Result<(), Broken<'l>> {
        for free in self.layout.free.iter().rev() {
            let found = &self.found[free.index];
            if matches!(found.field.kind, Kind::Text) && is_shifted(line, found) {
                return Err(Broken { at: found.start, want: Want::OneField(found.field) });
            }
        }
        Ok(())
    }

    /// Reads fields up to the end of the line. The last one whose end was searched for is noted.
    #[inline(always)]
    fn read_from<const VALUES: bool>(
        &mut self,
        place: Place,
        line: &str,
        searched: &mut Option<usize>,
    ) -> Result<(), Broken<'l>> {
        let framed = self.layout.framed();
        let (mut at, mut from) = (place.start, place.from);
        for (number, found) in self.found[place.index..framed].iter_mut().enumerate() {
            if !VALUES
                && found.field.is_plain_search
                && let Some(after) = search_plain(found, (line, &self.marks), at)
            {
                at = after;
            } else if found.field.end == End::Search {
                at = search_field(found, &mut self.clock, line, (at, from, self.reading))?;
                *searched = Some(place.index + number);
            } else {
                let line = (line, &self.marks);
                at = scan_field::<VALUES>(found, &mut self.clock, line, at)?;
            }
            from = at;
        }
        match (self.found.get_mut(framed), at == line.len()) {
            (None, true) => Ok(()),
            (None, false) => Err(Broken { at, want: Want::End }),
            (Some(found), _) => scan_response_time(found, line.as_bytes(), at),
        }
    }

    /// The rest of the line did not fit: tries the next places where the last field that could
    /// hold what stands after it may end. Fields before that stay: if the rest does not fit from
    /// the first place on, it does not from a later one.
    #[cold]
    #[inline(never)]
    fn search_on(
        &mut self,
        mut searched: Option<usize>,
        line: &str,
        first: Broken<'l>,
    ) -> Result<(), Broken<'l>> {
        while let Some(index) = searched.take() {
            self.places_left = self.places_left.saturating_sub(1);
            if self.places_left == 0 {
                break;
            }
            let Found { start, end, .. } = self.found[index];
            let place = Place { index, start, from: end + 1 };
            if self.read_from::<true>(place, line, &mut searched).is_ok() {
                return Ok(());
            }
        }
        Err(first)
    }

    /// Refuses a line in which a field could end at a second place with the rest of the line read
    /// otherwise. Where all such fields may hold any text, it is enough to look no further than
    /// the end of the next one: if any other reading fits, one fits that moves one end alone.
    #[inline(never)]
    fn check_unique(&mut self, line: &str) -> Result<(), Broken<'l>> {
        self.dead_ends.clear();
        let layout = self.layout;
        let loose = layout.free.iter().enumerate().rev().filter(|(_, free)| free.is_loose);
        for (number, free) in loose {
            let next = layout.free.get(number + 1).filter(|_| layout.is_any_text);
            let bound = next.map_or(line.len(), |next| self.found[next.index].end);
            let Found { start, end, field, .. } = self.found[free.index];
            let line = &line[..bound];
            let mut from = end + 1;
            while let Some(other) = place_of(field, line.as_bytes(), (start, from)) {
                if self.takes(field, &line[start..other]) && self.completes(number, other, line) {
                    return Err(Broken { at: start, want: Want::TwoEnds(field, end, other) });
                }
                from = other + 1;
            }
        }
        Ok(())
    }

    /// Whether the rest of the line fits where a free field, given by its number among those, ends
    /// here; or too many places were tried to tell.
    fn completes(&mut self, number: usize, end: usize, line: &str) -> bool {
        self.places_left = self.places_left.saturating_sub(1);
        if self.places_left == 0 {
            return true;
        }
        let layout = self.layout;
        let index = layout.free[number].index;
        let next = layout.free.get(number + 1).map(|free| free.index);
        let mut at = end + layout.fields[index].until.len();
        for found in &self.found[index + 1..next.unwrap_or(layout.framed())] {
            let line = (line, &self.marks);
            match scan_field::<true>(&mut { *found }, &mut self.clock, line, at) {
                Ok(after) => at = after,
                Err(_) => return false,
            }
        }
        let Some(next) = next else { return at == line.len() };
        let field = &layout.fields[next];
        if field.end == End::Rest || layout.is_any_text {
            return line.get(at..).is_some_and(|text| self.takes(field, text));
        }
        if self.dead_ends.contains(&(next, at)) {
            return false;
        }
        let mut from = at;
        while let Some(other) = place_of(field, line.as_bytes(), (at, from)) {
            if self.takes(field, &line[at..other]) && self.completes(number + 1, other, line) {
                return true;
            }
            from = other + 1;
        }
        self.dead_ends.push((next, at));
        false
    }

    /// Whether text without quotes is a field.
    fn takes(&mut self, field: &Field, text: &str) -> bool {
        fits(field, text, self.reading) && value(field, &mut self.clock, text).is_some()
    }
}

/// Whether a value without quotes begins or ends with the `-` of a field of its own.
#[inline]
fn is_shifted(line: &str, found: &Found<'_>) -> bool {
    let text = &line.as_bytes()[found.start..found.end];
    text.len() > 2 && (text.starts_with(b"- ") || text.ends_with(b" -"))
}

/// Finds a field that ends where its kind or a mark says so, and gives the byte after what ends it.
/// What it holds is read only if that is asked for.
#[inline(always)]
fn scan_field<'l, const VALUES: bool>(
    found: &mut Found<'l>,
    clock: &mut ClfClock,
    (line, marks): (&str, &Marks),
    start: usize,
) -> Result<usize, Broken<'l>> {
    let field = found.field;
    let (end, escaped) = field_end((line, marks), start, field)?;
    found.start = start;
    found.end = end;
    found.state = state(field, &line.as_bytes()[start..end], escaped);
    if VALUES || field.is_checked {
        let text = &line[start..end];
        if field.is_checked && !fits(field, text, Reading::Lenient) {
            return Err(Broken { at: start, want: Want::Value(field) });
        }
        let number = value(field, clock, text);
        found.number = number.ok_or(Broken { at: start, want: Want::Value(field) })?;
    }
    if field.until.begins(&line.as_bytes()[end..]) {
        Ok(end + field.until.len())
    } else {
        Err(Broken { at: end, want: Want::After(field) })
    }
}

#[inline]
fn state(field: &Field, text: &[u8], escaped: bool) -> State {
    match text {
        b"-" if !matches!(field.kind, Kind::Mark) => State::Missing,
        [] if field.escape != Escape::Backslash => State::Missing,
        _ if escaped => State::Escaped,
        _ => State::Plain,
    }
}

/// The end of a field, and whether there are escapes in it.
#[inline(always)]
fn field_end<'l>(
    (line, marks): (&str, &Marks),
    start: usize,
    field: &'l Field,
) -> Result<(usize, bool), Broken<'l>> {
    // Two branches for nearly all fields: a table of jumps would be guessed wrong between them.
    if field.end == End::Until {
        // The marks are those of a whole line, of which this may be the beginning.
        let end = marks.blank(start).filter(|end| *end < line.len()).map(|end| (end, false));
        return end.ok_or(Broken { at: line.len(), want: Want::After(field) });
    }
    if field.end == End::Quote {
        let end = quoted_end(line.as_bytes(), marks, start);
        return end.ok_or(Broken { at: start, want: Want::Quote(field) });
    }
    other_end(line, start, field)
}

/// The same for a field that ends in a way of its own.
#[inline]
fn other_end<'l>(line: &str, start: usize, field: &'l Field) -> Result<(usize, bool), Broken<'l>> {
    let rest = &line.as_bytes()[start..];
    let end = match field.end {
        End::Length(length) => {
            let is_missing = !field.required && rest.first() == Some(&b'-');
            line.len().min(start + if is_missing { 1 } else { length })
        }
        End::Blank => find(b' ', rest).map_or(line.len(), |length| start + length),
        End::Rest => rest_end(line, start, field)?,
        _ => start + span(rest, field),
    };
    // The other ends are before a sign of ASCII.
    if !line.is_char_boundary(end) {
        return Err(Broken { at: start, want: Want::Value(field) });
    }
    let may_be_escaped = field.end == End::Rest && field.escape != Escape::None;
    Ok((end, may_be_escaped && memchr(b'\\', rest).is_some()))
}

/// The end of the line, unless a blank stands before it that the field cannot hold.
fn rest_end<'l>(line: &str, start: usize, field: &'l Field) -> Result<usize, Broken<'l>> {
    let blank = match field.kind.holds(b' ') {
        Some(false) => find(b' ', &line.as_bytes()[start..]),
        _ => None,
    };
    match blank {
        Some(length) => Err(Broken { at: start + length, want: Want::End }),
        None => Ok(line.len()),
    }
}

/// How many bytes the field can hold.
fn span(rest: &[u8], field: &Field) -> usize {
    let holds = |byte: &u8| field.kind.holds(*byte).unwrap_or(true);
    let length = rest.iter().position(|byte| !holds(byte)).unwrap_or(rest.len());
    // The `-` of the field that follows at once, for nothing.
    let is_next = field.until.is_empty()
        && rest[..length].ends_with(b"-")
        && matches!(rest.get(length), None | Some(b' ' | b'"'));
    length - usize::from(is_next)
}

/// The quote that ends a field, and whether there are escapes before it.
#[inline]
fn quoted_end(line: &[u8], marks: &Marks, start: usize) -> Option<(usize, bool)> {
    let mut at = start;
    let mut escaped = false;
    loop {
        at = marks.quote(at)?;
        if *line.get(at)? == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// The same as [`search_field`] for any text before a blank, without quotes or backslashes; none
/// where it is not as simple as that.
#[inline(always)]
fn search_plain<'l>(
    found: &mut Found<'l>,
    (line, marks): (&str, &Marks),
    start: usize,
) -> Option<usize> {
    let field = found.field;
    let mut end = marks.blank(start)?;
    while !field.until.begins(&line.as_bytes()[end..]) {
        end = marks.blank(end + 1)?;
    }
    if marks.quote(start).is_some_and(|quote| quote < end) {
        return None;
    }
    found.state = state(field, &line.as_bytes()[start..end], false);
    (found.start, found.end) = (start, end);
    Some(end + field.until.len())
}

/// Finds a field that could hold what stands after it: from one place on, the first end with
/// which the field is one of its kind.
#[inline]
fn search_field<'l>(
    found: &mut Found<'l>,
    clock: &mut ClfClock,
    line: &str,
    (start, from, reading): (usize, usize, Reading),
) -> Result<usize, Broken<'l>> {
    let field = found.field;
    let mut at = from;
    let mut want = Broken { at: line.len(), want: Want::After(field) };
    while let Some(end) = place_of(field, line.as_bytes(), (start, at)) {
        let text = &line[start..end];
        let number = match fits(field, text, reading) {
            true => value(field, clock, text),
            false => None,
        };
        if let Some(number) = number {
            let is_escaped = field.escape != Escape::None && find(b'\\', text.as_bytes()).is_some();
            let state = state(field, text.as_bytes(), is_escaped);
            *found = Found { field, start, end, state, number };
            return Ok(end + field.until.len());
        }
        want = Broken { at: start, want: Want::Value(field) };
        at = end + 1;
    }
    Err(want)
}

/// The first place from `from` on where what stands after a field that begins at `start` does.
#[inline]
fn place_of(field: &Field, line: &[u8], (start, from): (usize, usize)) -> Option<usize> {
    let first = *field.until.first()?;
    let mut at = from;
    loop {
        at += find(first, line.get(at..)?)?;
        let is_escaped = || first == b'"' && is_escaped(field, &line[start..at]);
        if field.until.begins(&line[at..]) && !is_escaped() {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether the quote behind this text belongs to it.
fn is_escaped(field: &Field, text: &[u8]) -> bool {
    let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
    field.escape != Escape::None && backslashes % 2 == 1
}

/// Where a byte stands, eight at a time: most fields outside quotes end within the first or second
/// eight, and a branch for each byte would be guessed wrong at every end.
#[inline]
pub fn find(byte: u8, text: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (near, far) = text.split_at(text.len().min(SHORT_BYTES));
    let (eights, rest) = near.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let differing = u64::from_le_bytes(*eight) ^ (LOW * u64::from(byte));
        let found = differing.wrapping_sub(LOW) & !differing & (LOW << 7);
        if found != 0 {
            return Some(number * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let after = eights.len() * 8;
    let found = rest.iter().position(|other| *other == byte).map(|at| after + at);
    found.or_else(|| memchr(byte, far).map(|at| near.len() + at))
}

fn scan_response_time<'l>(found: &mut Found<'l>, line: &[u8], at: usize) -> Result<(), Broken<'l>> {
    found.number = ABSENT;
    let digits = match &line[at..] {
        [] | [b' ', b'-'] => return Ok(()),
        [b' ', digits @ ..] => digits,
        _ => return Err(Broken { at, want: Want::Tail }),
    };
    found.number = integer(digits).ok_or(Broken { at: at + 1, want: Want::Tail })?;
    Ok(())
}
