//! HTTP logs of HAProxy.
//!
//! Source: "8.2.3. HTTP log format" and "8.5. Session state at disconnection" of HAProxy's
//! configuration manual (docs.haproxy.org): `client_ip:client_port [accept_date] frontend_name
//! backend_name/server_name TR/Tw/Tc/Tr/Ta status_code bytes_read captured_request_cookie
//! captured_response_cookie termination_state actconn/feconn/beconn/srv_conn/retries
//! srv_queue/backend_queue {captured_headers} "http_request"`.
//!
//! The date has milliseconds and no zone. It is the machine's local time (`%tr`, `%t`), so that
//! `time_zone` says where that is; else it counts as UTC. What syslog puts in front is a column
//! of its own; what `option httpslog` writes behind the request is `more`. A `+` before a number
//! (logged early, or sent to another server) is left out but for the retries, which then are
//! `redispatched`. Which of the two lists of captured headers a single one is cannot be told, so
//! they are one column, as they stand.

use contract::Result;

use super::Form;
use super::fields::{address, digits, quoted_end};
use super::rows::{BYTES, Column, HEAD, IP, Kind, RESPONSE_TIME_MS, Row, STATUS, TS, with_head};
use crate::timestamp::Zones;
use crate::typed::Cell;

const OWN: [(&str, Kind); 24] = [
    ("client_port", Kind::Integer),
    ("frontend", Kind::Word),
    ("backend", Kind::Word),
    ("server", Kind::Word),
    ("request_time_ms", Kind::Integer),
    ("queue_time_ms", Kind::Integer),
    ("connect_time_ms", Kind::Integer),
    ("target_time_ms", Kind::Integer),
    ("request_cookie", Kind::Text),
    ("response_cookie", Kind::Text),
    ("termination_state", Kind::Word),
    ("connections", Kind::Integer),
    ("frontend_connections", Kind::Integer),
    ("backend_connections", Kind::Integer),
    ("server_connections", Kind::Integer),
    ("retries", Kind::Integer),
    ("redispatched", Kind::Boolean),
    ("server_queue", Kind::Integer),
    ("backend_queue", Kind::Integer),
    ("captured_headers", Kind::Text),
    ("syslog", Kind::Text),
    ("early", Kind::Boolean),
    ("truncated", Kind::Boolean),
    ("more", Kind::Text),
];

/// Places of those columns.
const CLIENT_PORT: usize = HEAD.len();
const FRONTEND: usize = CLIENT_PORT + 1;
const TIMES: usize = FRONTEND + 3;
const REQUEST_COOKIE: usize = TIMES + 4;
const CONNECTIONS: usize = REQUEST_COOKIE + 3;
const RETRIES: usize = CONNECTIONS + 4;
const QUEUES: usize = RETRIES + 2;
const CAPTURED: usize = QUEUES + 2;
const SYSLOG: usize = CAPTURED + 1;
const EARLY: usize = SYSLOG + 1;
const TRUNCATED: usize = EARLY + 1;
const MORE: usize = TRUNCATED + 1;

/// The length of `03/Mar/2026:10:00:02.655`.
const DATE_BYTES: usize = 24;

/// The form of such a line.
pub struct Haproxy {
    columns: Vec<Column>,
    zones: Zones,
}

impl Haproxy {
    /// The form with its columns.
    ///
    /// # Errors
    /// Config: there is no such time zone.
    pub fn new(time_zone: Option<&str>) -> Result<Self> {
        Ok(Self { columns: with_head(&OWN), zones: Zones::read(time_zone, None)? })
    }
}

impl Form for Haproxy {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read<'a>(&self, line: &'a str, row: &mut Row<'a>) -> std::result::Result<(), String> {
        let rest = accepted(line, row, &self.zones)
            .ok_or("expected `address:port [03/Mar/2026:10:00:02.655] ` before the frontend")?;
        let mut words = Words { line, at: line.len() - rest.len() };
        row.set(FRONTEND, words.word("the frontend")?);
        let at = words.at;
        let (backend, server) = words.parts::<2>("backend/server")?.into();
        row.set(FRONTEND + 1, backend.map_or(Cell::Null, Cell::Piece));
        row.set(FRONTEND + 2, server.map_or(Cell::Null, Cell::Piece));
        debug_assert!(at < words.at, "a word has a byte");
        let times = words.parts::<5>("five times such as `10/0/30/69/109`")?;
        let places = [TIMES, TIMES + 1, TIMES + 2, TIMES + 3, RESPONSE_TIME_MS];
        words.numbers(&times, &places, row)?;
        row.set(EARLY, Cell::Boolean(times[4].is_some_and(|total| total.starts_with('+'))));
        let status = words.parts::<1>("a status")?;
        words.numbers(&status, &[STATUS], row)?;
        let bytes = words.parts::<1>("a number of bytes")?;
        words.numbers(&bytes, &[BYTES], row)?;
        row.set(REQUEST_COOKIE, words.word("a cookie or `-`")?);
        row.set(REQUEST_COOKIE + 1, words.word("a cookie or `-`")?);
        row.set(REQUEST_COOKIE + 2, words.word("the state at the end")?);
        let connections = words.parts::<5>("five counts such as `1/1/1/1/0`")?;
        let places = [CONNECTIONS, CONNECTIONS + 1, CONNECTIONS + 2, CONNECTIONS + 3, RETRIES];
        words.numbers(&connections, &places, row)?;
        let redispatched = connections[4].is_some_and(|retries| retries.starts_with('+'));
        row.set(RETRIES + 1, Cell::Boolean(redispatched));
        let queues = words.parts::<2>("two queues such as `0/0`")?;
        words.numbers(&queues, &[QUEUES, QUEUES + 1], row)?;
        request(&line[words.at..], row).ok_or_else(|| words.expected("a request in quotes"))
    }
}

/// Reads up to the date and gives what follows it.
fn accepted<'a>(line: &'a str, row: &mut Row<'a>, zones: &Zones) -> Option<&'a str> {
    let mut from = 0;
    loop {
        let open = from + line.get(from..)?.find('[')?;
        from = open + 1;
        let rest = &line.as_bytes()[from..];
        if rest.get(DATE_BYTES..DATE_BYTES + 2) != Some(b"] ") || open == 0 {
            continue;
        }
        let time = date(&rest[..DATE_BYTES], row);
        let Some(time) = time.and_then(|local| zones.instant(local, None)) else { continue };
        let before = line[..open].strip_suffix(' ')?;
        let (syslog, client) = match before.rsplit_once(' ') {
            Some((syslog, client)) => (Some(syslog), client),
            None => (None, before),
        };
        let (ip, port) = address(client)?;
        row.piece(IP, ip, false);
        row.number(CLIENT_PORT, port);
        row.number(TS, time);
        if let Some(syslog) = syslog {
            row.piece(SYSLOG, syslog, false);
        }
        return line.get(from + DATE_BYTES + 2..);
    }
}

/// `03/Mar/2026:10:00:02.655` as microseconds since 1970 on the clock that wrote it.
fn date(text: &[u8], row: &mut Row<'_>) -> Option<i64> {
    let (seconds, millis) = text.split_at_checked(20)?;
    let [b'.', millis @ ..] = millis else { return None };
    let mut whole = *b"00/Jan/1970:00:00:00 +0000";
    whole[..20].copy_from_slice(seconds);
    let millis = digits(std::str::from_utf8(millis).ok()?)?;
    Some(row.clock.parse(&whole)? + millis * 1_000)
}

/// Captured headers, if there are any, and the request. A request that was cut off has no quote at
/// its end.
fn request<'a>(rest: &'a str, row: &mut Row<'a>) -> Option<()> {
    let open = match rest.strip_prefix('{') {
        Some(_) => rest.find("} \"")? + 2,
        None => 0,
    };
    if open > 0 {
        row.piece(CAPTURED, &rest[..open - 1], false);
    }
    let text = rest[open..].strip_prefix('"')?;
    let end = quoted_end(text.as_bytes());
    let (request, more) = match end {
        Some((end, _)) => (&text[..end], text.get(end + 2..).unwrap_or_default()),
        None => (text, ""),
    };
    row.set(TRUNCATED, Cell::Boolean(end.is_none()));
    row.request(request, false);
    if !more.is_empty() {
        row.piece(MORE, more, false);
    }
    Some(())
}

/// The words of a line, any number of blanks between.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.line[self.at..];
        let end = rest.find(' ')?;
        let after = rest[end..].find(|letter| letter != ' ')?;
        self.at += end + after;
        Some(&rest[..end]).filter(|word| !word.is_empty())
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {}", self.at + 1)
    }

    fn word(&mut self, what: &str) -> std::result::Result<Cell<'a>, String> {
        let expected = self.expected(what);
        let word = self.next().ok_or(expected)?;
        Ok(if word == "-" { Cell::Null } else { Cell::Piece(word) })
    }

    /// A word of so many parts with `/` between; `-1` is none.
    fn parts<const COUNT: usize>(
        &mut self,
        what: &str,
    ) -> std::result::Result<[Option<&'a str>; COUNT], String> {
        let expected = self.expected(what);
        let word = self.next().ok_or_else(|| expected.clone())?;
        let mut parts = word.split('/');
        let mut found = [None; COUNT];
        for part in &mut found {
            *part = Some(parts.next().ok_or_else(|| expected.clone())?);
        }
        if parts.next().is_some() {
            return Err(expected);
        }
        Ok(found.map(|part| part.filter(|part| *part != "-1")))
    }

    fn numbers(
        &self,
        parts: &[Option<&str>],
        places: &[usize],
        row: &mut Row<'a>,
    ) -> std::result::Result<(), String> {
        for (part, place) in parts.iter().zip(places) {
            let Some(part) = part else { continue };
            let number = digits(part.strip_prefix('+').unwrap_or(part)).ok_or_else(|| {
                format!("expected a whole number before byte {}, found {part:?}", self.at)
            })?;
            row.number(*place, number);
        }
        Ok(())
    }
}
