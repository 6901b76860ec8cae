//! One connection in one epoch's transaction: takes chunks, and leaves out the rows that are
//! refused.
//!
//! Each attempt at rows stands under a savepoint, so that a refused row costs its chunk nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use contract::{Error, Result};
use tokio_postgres::Statement;
use tracing::debug;

use crate::catalog;
use crate::chunk::{Chunk, Refused};
use crate::client::{Backend, Connection, Taken};
use crate::failure::{Refusal, is_about_row, reason};
use crate::layout::Layout;
use crate::sieve::{Course, Sieve, Try};
use crate::table::TableName;

/// What a binary `COPY` begins with: signature, flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// Constraints that wait for the end of a transaction could refuse rows when it is too late to
/// name them.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET CONSTRAINTS ALL IMMEDIATE";
const TRYING: &str = "SAVEPOINT logmill";
const KEEP: &str = "RELEASE SAVEPOINT logmill";
const DROP: &str = "ROLLBACK TO SAVEPOINT logmill; RELEASE SAVEPOINT logmill";

/// A connection that writes one table.
pub struct Session {
    connection: Connection,
    table: TableName,
    layout: Arc<Layout>,
    copy: Statement,
    /// Asks which table stands under the name.
    shape: Statement,
    sieve: Tables,
}

/// What came of rows that were tried together.
type Tried = std::result::Result<(), Refusal>;

/// The temporary tables of rows that are tried one by one.
#[derive(Clone)]
enum Tables {
    /// This transaction has none yet.
    Absent,
    /// They stand until the transaction ends; with the `COPY` that fills them.
    Made(Statement),
    /// The login may not make any.
    Forbidden,
}

impl Session {
    /// Prepares a connection for a table.
    ///
    /// # Errors
    /// From the server.
    pub async fn new(
        connection: Connection,
        layout: Arc<Layout>,
        table: TableName,
    ) -> Result<Self> {
        let what = format!("could not prepare to write table {:?}", table.shown());
        if let Some(upsert) = &layout.upsert {
            connection.execute(&what, &upsert.create).await?;
        }
        let copy = connection.prepare(&what, &layout.copy).await?;
        let shape = connection.prepare(&what, catalog::SHAPE).await?;
        Ok(Self { connection, table, layout, copy, shape, sieve: Tables::Absent })
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The server's process at the other end.
    pub fn backend(&self) -> Backend {
        self.connection.backend()
    }

    /// Opens the transaction, and keeps the table as it is until its end. What it is must be looked
    /// at afterwards.
    ///
    /// # Errors
    /// From the server.
    pub async fn begin(&mut self) -> Result<()> {
        if matches!(self.sieve, Tables::Made(_)) {
            self.sieve = Tables::Absent;
        }
        match &self.layout.lock {
            Some(lock) => self.run(&format!("{BEGIN}; {lock}")).await,
            None => self.run(BEGIN).await,
        }
    }

    /// Makes the transaction durable. An error leaves open whether it is.
    ///
    /// # Errors
    /// From the server, or from the way to it.
    pub async fn commit(&self) -> Result<()> {
        self.run("COMMIT").await
    }

    /// Drops the transaction.
    ///
    /// # Errors
    /// From the server.
    pub async fn roll_back(&self) -> Result<()> {
        self.run("ROLLBACK").await
    }

    /// Whether the table is still the one that the layout was made for.
    ///
    /// # Errors
    /// Retryable External: it is not, so that its columns must be read again.
    pub async fn look(&self) -> Result<()> {
        let found = catalog::shape(&self.connection, &self.shape, &self.table).await?;
        let known = &self.layout.shape;
        let what = match found {
            Some(found) if found == *known => return Ok(()),
            Some(found) if found.id == known.id => "was altered",
            Some(_) => "is another one than before: what that one held may be gone",
            None => "is not there any more",
        };
        let table = self.table.shown();
        Err(Error::transient(format!("table {table:?} {what}; its columns are read again")))
    }

    /// Writes the rows of a chunk, in order, but for those that the table refuses.
    ///
    /// # Errors
    /// From the server: the transaction is lost.
    pub async fn deliver(&mut self, chunk: &Chunk) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let mut course = Course::new(chunk.rows());
        while let Some(next) = course.next() {
            match next {
                Try::Together(rows) => match self.together(chunk, &rows).await? {
                    Ok(()) => course.taken(&rows),
                    Err(refusal) => course.refused(&rows, refusal.line),
                },
                Try::OneByOne(rows) => {
                    let found = self.one_by_one(chunk, &rows).await?;
                    course.tried(&rows, found.len());
                    refused.extend(found);
                }
            }
        }
        Ok(refused)
    }

    /// All rows or none; the reason if any of them is refused.
    async fn together(&self, chunk: &Chunk, rows: &Range<usize>) -> Result<Tried> {
        // The savepoint is on its way before the rows are; nobody waits for its answer.
        let (set, tried) = tokio::join!(biased; self.run(TRYING), self.attempt(chunk, rows));
        set?;
        let tried = tried?;
        self.run(if tried.is_ok() { KEEP } else { DROP }).await?;
        Ok(tried)
    }

    async fn one_by_one(&mut self, chunk: &Chunk, rows: &Range<usize>) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let layout = self.layout.clone();
        let filled = match &layout.sieve {
            Some(sieve) => self.may_sift(sieve).await?.map(|copy| (sieve, copy)),
            None => None,
        };
        let unclear: Vec<usize> = match filled {
            Some((sieve, copy)) => {
                self.fill(&copy, chunk, rows).await?;
                self.sift(sieve, chunk, rows, &mut refused).await?
            }
            None => rows.clone().collect(),
        };
        for row in unclear {
            if let Err(refusal) = self.together(chunk, &(row..row + 1)).await? {
                refused.push(chunk.refuse(row, refusal.reason));
            }
        }
        Ok(refused)
    }

    /// Brings rows to where the server tries them one by one.
    async fn fill(&self, copy: &Statement, chunk: &Chunk, rows: &Range<usize>) -> Result<()> {
        let what = self.writing();
        match self.connection.copy(&what, copy, pieces(chunk, rows)).await? {
            Ok(taken) if taken == rows.len() as u64 => Ok(()),
            Ok(taken) => Err(self.left_out(taken, rows.len())),
            Err(refusal) => Err(Error::external(what).because(refusal.reason)),
        }
    }

    /// Lets the server try rows one by one. Returns those that it did not take for a reason which
    /// may not be theirs: only the answer to a `COPY` tells that.
    async fn sift(
        &self,
        sieve: &Sieve,
        chunk: &Chunk,
        rows: &Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<usize>> {
        let mut unclear = Vec::new();
        for refusal in self.connection.ask(&self.writing(), &sieve.take).await? {
            let number = refusal.get(0).and_then(|number| number.parse::<usize>().ok());
            let row = rows.start + number.map_or(0, |number| number.saturating_sub(1));
            match (refusal.get(1), refusal.get(2)) {
                (Some(code), Some(message)) if is_about_row(code, false) => {
                    refused.push(chunk.refuse(row, reason(message, refusal.get(3))));
                }
                (None, _) => return Err(self.left_out(0, 1)),
                (Some(_), _) => unclear.push(row),
            }
        }
        Ok(unclear)
    }

    /// Makes the tables of rows that are tried one by one, and gives the `COPY` that fills them;
    /// none where the login may not.
    async fn may_sift(&mut self, sieve: &Sieve) -> Result<Option<Statement>> {
        if matches!(self.sieve, Tables::Absent) {
            self.run(TRYING).await?;
            self.sieve = match self.make(sieve).await {
                Ok(copy) => Tables::Made(copy),
                Err(error) if error.retry() || self.connection.is_closed() => return Err(error),
                Err(error) => {
                    debug!(error = error.chain(), "rows that are refused are looked for slowly");
                    Tables::Forbidden
                }
            };
            self.run(if matches!(self.sieve, Tables::Made(_)) { KEEP } else { DROP }).await?;
        }
        Ok(match &self.sieve {
            Tables::Made(copy) => Some(copy.clone()),
            _ => None,
        })
    }

    async fn make(&self, sieve: &Sieve) -> Result<Statement> {
        self.run(&sieve.create).await?;
        self.connection.prepare(&self.writing(), &sieve.copy).await
    }

    /// One attempt at some rows; the reason if any of them is refused.
    async fn attempt(&self, chunk: &Chunk, rows: &Range<usize>) -> Result<Tried> {
        let what = self.writing();
        let taken = match self.connection.copy(&what, &self.copy, pieces(chunk, rows)).await? {
            Ok(taken) => taken,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if taken != rows.len() as u64 {
            return Err(self.left_out(taken, rows.len()));
        }
        let Some(upsert) = &self.layout.upsert else { return Ok(Ok(())) };
        let merged: Taken = self.connection.take(&what, &upsert.merge).await?;
        if let Err(refusal) = merged {
            return Ok(Err(refusal));
        }
        self.run(&upsert.clear).await?;
        Ok(Ok(()))
    }

    fn left_out(&self, taken: u64, count: usize) -> Error {
        Error::external(self.writing())
            .because(format!("it took {taken} of {count} rows"))
            .hint("a trigger leaves rows out; make it raise an exception instead")
    }

    async fn run(&self, statement: &str) -> Result<()> {
        self.connection.execute(&self.writing(), statement).await
    }

    fn writing(&self) -> String {
        format!("could not write table {:?}", self.table.shown())
    }
}

/// Some rows as a whole `COPY`.
fn pieces(chunk: &Chunk, rows: &Range<usize>) -> Vec<Bytes> {
    let mut pieces = vec![Bytes::from_static(HEADER)];
    pieces.extend(chunk.slices(rows.clone()));
    pieces.push(Bytes::from_static(TRAILER));
    pieces
}
