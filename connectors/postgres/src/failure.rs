//! What an answer of the server means: a row it will never take, something that may pass, or a
//! destination that somebody has to see to.
//!
//! The classes of SQLSTATE decide (PostgreSQL's documentation, appendix A); the README has the
//! table.

use std::error::Error as StdError;
use std::fmt;

use contract::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

/// Classes whose cause may pass, whoever raised it: connection, state of the transaction,
/// rollback, resources, object in use, operator, system.
const PASSING_CLASSES: [&str; 7] = ["08", "25", "40", "53", "55", "57", "58"];
/// Classes that speak of the table, the login or the server itself, unless a trigger raised one on
/// purpose. Every class that stands in neither list, those that users make up included, speaks of
/// the row.
const DESTINATION_CLASSES: [&str; 16] = [
    "0A", "0B", "0L", "0P", "24", "26", "28", "2B", "2D", "34", "3B", "3D", "3F", "42", "F0", "HV",
];
/// Classes of these that never speak of one table: names of statements and cursors, the login, the
/// database, savepoints, schemas, the server's settings.
const SERVER_CLASSES: [&str; 8] = ["24", "26", "28", "34", "3B", "3D", "3F", "F0"];
/// Of a class that may pass, and yet says that a table is not what it must be to be written: it is
/// published without a key for its rows, or is a view.
const UNFIT: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
/// Defects and damage of the server.
const INTERNAL_CLASS: &str = "XX";
/// The function of the server that carries out `RAISE` of PL/pgSQL.
const RAISE: &str = "exec_stmt_raise";

/// Why the server refuses rows of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its reason, for people.
    pub reason: String,
    /// Which row of a `COPY` it is, from 1, where the server says so.
    pub line: Option<usize>,
}

/// The server's reason for refusing rows of a statement; none if something else went wrong.
pub fn refusal(error: &tokio_postgres::Error) -> Option<Refusal> {
    let answer = error.as_db_error()?;
    let raised = answer.routine() == Some(RAISE);
    is_about_row(answer.code().code(), raised)
        .then(|| Refusal { reason: reason(answer.message(), answer.detail()), line: line(answer) })
}

/// Whether an error that came of writing rows says that a row is at fault; `raised` where a trigger
/// raised it on purpose.
pub fn is_about_row(code: &str, raised: bool) -> bool {
    let class = class(code);
    if PASSING_CLASSES.contains(&class) {
        return false;
    }
    // What we sent was malformed as a whole: that is our fault, not a row's.
    let malformed = code == SqlState::BAD_COPY_FILE_FORMAT.code();
    let elsewhere = DESTINATION_CLASSES.contains(&class) || class == INTERNAL_CLASS;
    raised || !(malformed || elsewhere)
}

/// Whether an answer to a statement speaks of the table that the statement names, and not of the
/// server: asked where rows chose the table, so that another one may be taken.
fn is_about_table(code: &str) -> bool {
    let is_table = DESTINATION_CLASSES.contains(&class(code))
        && !SERVER_CLASSES.contains(&class(code))
        || code == UNFIT.code();
    is_table || is_about_row(code, false)
}

/// Why a table that rows chose cannot be had or written; none if the error is not about the table.
pub fn about_table(error: &Error) -> Option<String> {
    let code = code(error)?;
    (error.kind() == ErrorKind::External && is_about_table(code)).then(|| error.chain())
}

/// Whether a right is missing.
pub fn is_denied(error: &Error) -> bool {
    code(error) == Some(SqlState::INSUFFICIENT_PRIVILEGE.code())
}

/// The SQLSTATE of the server's answer that is the cause of an error.
fn code(error: &Error) -> Option<&str> {
    let mut cause = StdError::source(error);
    while let Some(one) = cause {
        if let Some(said) = one.downcast_ref::<Said>() {
            return Some(&said.code);
        }
        cause = one.source();
    }
    None
}

/// What the server answered.
#[derive(Debug)]
struct Said {
    message: String,
    code: String,
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.code)
    }
}

impl StdError for Said {}

/// A reason with its detail.
pub fn reason(message: &str, detail: Option<&str>) -> String {
    match detail.filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("{message}: {}", detail.trim_end_matches('.')),
        None => message.to_owned(),
    }
}

/// The row of a `COPY` at which an error came up. The server knows none for what it checks behind
/// the last row.
fn line(answer: &DbError) -> Option<usize> {
    answer.where_()?.lines().rev().find_map(line_of)
}

/// Reads `COPY table, line 7, column c`, whose words are in the server's language.
fn line_of(context: &str) -> Option<usize> {
    // The name of the table may hold commas too. A number that is none of a line does no harm: it
    // only says what is tried first.
    let parts = context.strip_prefix("COPY ")?.split(", ").skip(1);
    let mut numbers = parts.filter_map(|part| {
        let (_, number) = part.split_once(' ')?;
        number.split([',', ':', ' ']).next()?.parse().ok()
    });
    numbers.next()
}

/// An error of the server or of the way to it, as the runtime understands it.
pub fn external(error: tokio_postgres::Error, message: impl Into<String>) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::transient(message).because(error);
    };
    let code = answer.code();
    let cause = Said { message: answer.message().to_owned(), code: code.code().to_owned() };
    let kind = match *code == SqlState::BAD_COPY_FILE_FORMAT {
        true => ErrorKind::Bug,
        false => ErrorKind::External,
    };
    let failure = Error::new(kind, message).because(cause);
    let failure = match PASSING_CLASSES.contains(&class(code.code())) {
        true => failure.retryable(),
        false => failure,
    };
    match hint(code) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn class(code: &str) -> &str {
    code.get(..2).unwrap_or_default()
}

fn hint(code: &SqlState) -> Option<&'static str> {
    match *code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            Some("check user and password in `url`, and the server's pg_hba.conf")
        }
        SqlState::INVALID_CATALOG_NAME => Some("create the database, or name another in `url`"),
        SqlState::INSUFFICIENT_PRIVILEGE => {
            Some("the README of `postgres` lists the rights needed")
        }
        SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME => {
            Some("the table, or one that its triggers need, was dropped or renamed")
        }
        SqlState::LOCK_NOT_AVAILABLE => Some("see in pg_stat_activity who holds the lock"),
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
            Some("raise `idle_timeout` above `epoch.interval`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, expect: bool, expect_raised: bool) {
        assert_eq!((is_about_row(code, false), is_about_row(code, true)), (expect, expect_raised));
    }

    #[test]
    fn the_class_says_who_is_at_fault() {
        for row in ["22003", "23505", "44000", "54000", "P0001", "P0004", "U0001", "01000"] {
            check(row, true, true);
        }
        for passing in ["08006", "25006", "40P01", "53100", "55P03", "57014", "58030"] {
            check(passing, false, false);
        }
        for destination in ["0A000", "28000", "3F000", "42501", "42P01", "HV000", "XX000", "22P04"]
        {
            check(destination, false, true);
        }
    }

    /// What the README says of a code, in the words of its table.
    fn said_of(code: &str, one_of_many: bool) -> &'static str {
        let malformed = code == SqlState::BAD_COPY_FILE_FORMAT.code();
        match code {
            _ if is_about_row(code, false) => "dead letter",
            _ if one_of_many && !malformed && is_about_table(code) => "dead letters",
            _ if PASSING_CLASSES.contains(&class(code)) => "repeated",
            _ => "stops",
        }
    }

    #[test]
    fn the_table_of_the_readme_says_what_each_code_comes_to() {
        let readme = include_str!("../README.md");
        let (_, table) = readme.split_once("| SQLSTATE |").expect("the table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let mut told = 0;
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [_, codes, _, one, many, _] = cells[..] else { panic!("{row}") };
            for code in codes.split('`').skip(1).step_by(2) {
                let whole = if code.len() == 2 { format!("{code}000") } else { code.to_owned() };
                let is_code = whole.len() == 5 && whole.chars().all(|c| c.is_ascii_alphanumeric());
                if !is_code || codes.contains("on purpose") {
                    continue;
                }
                told += 1;
                // `55` stands for its class but for the code that has a row of its own.
                let whole = if code == "55" { "55P03".to_owned() } else { whole };
                let says = |cell: &str, word| assert!(cell.contains(word), "{code}: {row}");
                says(one, said_of(&whole, false));
                says(if many == "the same" { one } else { many }, said_of(&whole, true));
            }
        }
        let listed = PASSING_CLASSES.len() + DESTINATION_CLASSES.len();
        assert!(told >= listed, "{told} codes of {listed} classes");
    }

    #[test]
    fn the_row_of_a_copy_is_read_in_any_language() {
        let check = |context: &str, expect| assert_eq!(line_of(context), expect, "{context}");
        check("COPY t_7, line 12", Some(12));
        check("COPY t 8, line 12, column v: \"a, b 9\"", Some(12));
        check("COPY t, Zeile 3", Some(3));
        check("COPY a, b, line 4", Some(4));
        check("PL/pgSQL function f() line 1 at RAISE", None);
        check("COPY t", None);
    }
}
