//! What an answer of the server means: a row it will never take, or something that may pass.

use contract::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

/// The classes of SQLSTATE that say that a row, not the connection, is at fault: data exception,
/// integrity constraint violation, program limit exceeded (a value too long for an index).
const REFUSING_CLASSES: [&str; 3] = ["22", "23", "54"];
/// Classes whose cause may pass: connection, state of the transaction, rollback, resources, object
/// in use, operator, system.
const PASSING_CLASSES: [&str; 7] = ["08", "25", "40", "53", "55", "57", "58"];

/// The server's reason for refusing rows of a statement; none if something else went wrong.
pub fn refusal(error: &tokio_postgres::Error) -> Option<String> {
    let answer = error.as_db_error()?;
    let code = answer.code();
    // What we sent was malformed as a whole: that is our fault, not a row's.
    if *code == SqlState::BAD_COPY_FILE_FORMAT {
        return None;
    }
    let refused = REFUSING_CLASSES.contains(&class(code)) || *code == SqlState::RAISE_EXCEPTION;
    refused.then(|| match answer.detail() {
        Some(detail) => format!("{}: {}", answer.message(), detail.trim_end_matches('.')),
        None => answer.message().to_owned(),
    })
}

/// An error of the server or of the way to it, as the runtime understands it.
pub fn external(error: tokio_postgres::Error, message: impl Into<String>) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::transient(message).because(error);
    };
    let cause = format!("{} ({})", answer.message(), answer.code().code());
    let kind = match *answer.code() == SqlState::BAD_COPY_FILE_FORMAT {
        true => ErrorKind::Bug,
        false => ErrorKind::External,
    };
    let failure = Error::new(kind, message).because(cause);
    let failure = match PASSING_CLASSES.contains(&class(answer.code())) {
        true => failure.retryable(),
        false => failure,
    };
    match hint(answer.code()) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
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
        SqlState::LOCK_NOT_AVAILABLE => Some("see in pg_stat_activity who holds the lock"),
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
            Some("raise `idle_timeout` above `epoch.interval`")
        }
        _ => None,
    }
}
