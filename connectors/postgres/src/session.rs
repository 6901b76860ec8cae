//! One connection in one epoch's transaction: takes chunks for its tables, and leaves out the rows
//! that are refused.
//!
//! Each attempt at rows stands under a savepoint, so that a refused row costs its chunk nothing. A
//! table is locked, and looked at, before its first row of each epoch.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use contract::{Error, Result};
use futures::future::try_join_all;
use tokio_postgres::Statement;
use tracing::debug;

use crate::catalog;
use crate::chunk::{Chunk, Refused};
use crate::client::{Backend, Connection, Taken};
use crate::failure::{Refusal, about_table, is_about_row, is_denied, reason};
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
const OPENING: &str = "could not begin a transaction";
const TRYING: &str = "SAVEPOINT logmill";
const KEEP: &str = "RELEASE SAVEPOINT logmill";
const DROP: &str = "ROLLBACK TO SAVEPOINT logmill; RELEASE SAVEPOINT logmill";
/// What is done with one of many tables stands under another savepoint, so that a table that cannot
/// be written costs the epoch its rows alone.
const MARK: &str = "SAVEPOINT logmill_table";
const KEEP_MARKED: &str = "RELEASE SAVEPOINT logmill_table";
const DROP_MARKED: &str = "ROLLBACK TO SAVEPOINT logmill_table; RELEASE SAVEPOINT logmill_table";
const MARKING: &str = "could not set a savepoint";

/// A connection that writes tables.
pub struct Session {
    connection: Connection,
    /// Asks which table stands under a name.
    shape: Statement,
    /// The `COPY` of each table that was written, by its number.
    copies: HashMap<usize, Statement>,
    /// The tables of the transaction, which stay as they are until its end.
    entered: HashMap<usize, Arc<Layout>>,
    sieve: Tables,
}

/// What came of a chunk.
#[derive(Debug, Default)]
pub struct Delivered {
    /// The rows that are refused.
    pub refused: Vec<Refused>,
    /// Why the table cannot be written, which rows chose; then all rows are refused.
    pub unfit: Option<String>,
}

/// What came of rows that were tried together.
type Tried = std::result::Result<(), Refusal>;

/// The temporary tables of rows that are tried one by one.
enum Tables {
    /// Those that this transaction made stand until it ends; with the `COPY` that fills them, by
    /// the number of the table that they are for.
    Made(HashMap<usize, Statement>),
    /// The login may not make any.
    Forbidden,
}

impl Session {
    /// Prepares a connection.
    ///
    /// # Errors
    /// From the server.
    pub async fn new(connection: Connection) -> Result<Self> {
        let shape = connection.prepare("could not prepare to write tables", catalog::SHAPE).await?;
        let (copies, entered) = Default::default();
        Ok(Self { connection, shape, copies, entered, sieve: Tables::Made(HashMap::new()) })
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The server's process at the other end.
    pub fn backend(&self) -> Backend {
        self.connection.backend()
    }

    /// Opens the transaction.
    ///
    /// # Errors
    /// From the server.
    pub async fn begin(&mut self) -> Result<()> {
        self.entered.clear();
        if let Tables::Made(made) = &mut self.sieve {
            made.clear();
        }
        self.run(OPENING, BEGIN).await
    }

    /// Keeps a table as it is until the transaction ends, if it still is the one that its layout
    /// was made for.
    ///
    /// # Errors
    /// Retryable External: it is not, so that its columns must be read again. From the server.
    pub async fn enter(&mut self, layout: &Arc<Layout>) -> Result<()> {
        if self.entered.contains_key(&layout.number) {
            return Ok(());
        }
        let what = writing(layout);
        let stage = layout.upsert.as_ref().map(|upsert| upsert.create.clone());
        let first: Vec<String> = layout.lock.clone().into_iter().chain(stage).collect();
        let first = first.join("; ");
        // What can be locked is there; a table of rows may be gone, and is looked for before.
        // Nothing waits for an answer: what is sent first is answered first.
        let there = async { if layout.by_rows { self.look(layout).await } else { Ok(()) } };
        let (there, kept, seen) =
            tokio::join!(biased; there, self.run(&what, &first), self.look(layout));
        there?;
        kept?;
        seen?;
        if !self.copies.contains_key(&layout.number) {
            let copy = self.connection.prepare(&what, &layout.copy).await?;
            self.copies.insert(layout.number, copy);
        }
        self.entered.insert(layout.number, layout.clone());
        Ok(())
    }

    /// Makes the transaction durable. An error leaves open whether it is.
    ///
    /// # Errors
    /// From the server, or from the way to it.
    pub async fn commit(&self) -> Result<()> {
        self.run("could not commit", "COMMIT").await
    }

    /// Drops the transaction.
    ///
    /// # Errors
    /// From the server.
    pub async fn roll_back(&self) -> Result<()> {
        self.run("could not roll back", "ROLLBACK").await
    }

    /// Sets the mark to which [`Session::drop_to_mark`] goes back.
    ///
    /// # Errors
    /// From the server.
    pub async fn mark(&self) -> Result<()> {
        self.run(MARKING, MARK).await
    }

    /// Keeps what was done since the mark.
    ///
    /// # Errors
    /// From the server.
    pub async fn keep(&self) -> Result<()> {
        self.run(MARKING, KEEP_MARKED).await
    }

    /// Drops what was done since the mark with a table that rows chose, and gives the reason.
    ///
    /// # Errors
    /// The one that came, where it is not about the table. From the server.
    pub async fn drop_to_mark(&self, table: &TableName, error: Error) -> Result<String> {
        let Some(reason) = about_table(&error) else { return Err(error) };
        self.run(MARKING, DROP_MARKED).await?;
        // What the login may do with the whole schema is no matter of one table.
        match is_denied(&error) && !catalog::may_use(&self.connection, table).await? {
            true => Err(error),
            false => Ok(reason),
        }
    }

    /// Whether the tables of the transaction still are those that their layouts were made for.
    ///
    /// # Errors
    /// Retryable External: one is not, so that its columns must be read again.
    pub async fn look_again(&self) -> Result<()> {
        try_join_all(self.entered.values().map(|layout| self.look(layout))).await.map(drop)
    }

    async fn look(&self, layout: &Layout) -> Result<()> {
        let found = catalog::shape(&self.connection, &self.shape, &layout.table).await?;
        let known = &layout.shape;
        let what = match found {
            Some(found) if found == *known => return Ok(()),
            Some(found) if found.id == known.id => "was altered",
            Some(_) => "is another one than before: what that one held may be gone",
            None => "is not there any more",
        };
        let table = layout.table.shown();
        Err(Error::transient(format!("table {table:?} {what}; its columns are read again")))
    }

    /// Writes the rows of a chunk, in order, but for those that the table refuses.
    ///
    /// # Errors
    /// From the server: the transaction is lost.
    pub async fn deliver(&mut self, layout: &Arc<Layout>, chunk: &Chunk) -> Result<Delivered> {
        if !layout.by_rows {
            let refused = self.write(layout, chunk).await?;
            return Ok(Delivered { refused, unfit: None });
        }
        let was_entered = self.entered.contains_key(&layout.number);
        self.mark().await?;
        let error = match self.write(layout, chunk).await {
            Ok(refused) => {
                self.keep().await?;
                return Ok(Delivered { refused, unfit: None });
            }
            Err(error) => error,
        };
        let unfit = self.drop_to_mark(&layout.table, error).await?;
        if !was_entered {
            self.entered.remove(&layout.number);
        }
        if let Tables::Made(made) = &mut self.sieve {
            // It may be gone with what was dropped; it is made anew only if it is.
            made.remove(&layout.number);
        }
        let refused = (0..chunk.rows()).map(|row| chunk.refuse(row, unfit.clone())).collect();
        Ok(Delivered { refused, unfit: Some(unfit) })
    }

    async fn write(&mut self, layout: &Arc<Layout>, chunk: &Chunk) -> Result<Vec<Refused>> {
        self.enter(layout).await?;
        let mut refused = Vec::new();
        let mut course = Course::new(chunk.rows());
        while let Some(next) = course.next() {
            match next {
                Try::Together(rows) => match self.together(layout, chunk, &rows).await? {
                    Ok(()) => course.taken(&rows),
                    Err(refusal) => course.refused(&rows, refusal.line),
                },
                Try::OneByOne(rows) => {
                    let found = self.one_by_one(layout, chunk, &rows).await?;
                    course.tried(&rows, found.len());
                    refused.extend(found);
                }
            }
        }
        Ok(refused)
    }

    /// All rows or none; the reason if any of them is refused.
    async fn together(&self, layout: &Layout, chunk: &Chunk, rows: &Range<usize>) -> Result<Tried> {
        let what = writing(layout);
        // The savepoint is on its way before the rows are; nobody waits for its answer.
        let (set, tried) = tokio::join!(
            biased;
            self.run(&what, TRYING),
            self.attempt(layout, chunk, rows)
        );
        set?;
        let tried = tried?;
        self.run(&what, if tried.is_ok() { KEEP } else { DROP }).await?;
        Ok(tried)
    }

    async fn one_by_one(
        &mut self,
        layout: &Layout,
        chunk: &Chunk,
        rows: &Range<usize>,
    ) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let unclear: Vec<usize> = match self.may_sift(layout).await? {
            Some((sieve, copy)) => {
                self.fill((&writing(layout), &copy), chunk, rows).await?;
                let found = self.sift((&writing(layout), sieve), chunk, rows).await?;
                refused = found.refused;
                found.unclear
            }
            None => rows.clone().collect(),
        };
        for row in unclear {
            if let Err(refusal) = self.together(layout, chunk, &(row..row + 1)).await? {
                refused.push(chunk.refuse(row, refusal.reason));
            }
        }
        Ok(refused)
    }

    /// Brings rows to where the server tries them one by one.
    async fn fill(
        &self,
        (what, copy): (&str, &Statement),
        chunk: &Chunk,
        rows: &Range<usize>,
    ) -> Result<()> {
        match self.connection.copy(what, copy, pieces(chunk, rows)).await? {
            Ok(taken) if taken == rows.len() as u64 => Ok(()),
            Ok(taken) => Err(left_out(what, taken, rows.len())),
            Err(refusal) => Err(Error::external(what).because(refusal.reason)),
        }
    }

    /// Lets the server try rows one by one.
    async fn sift(
        &self,
        (what, sieve): (&str, &Sieve),
        chunk: &Chunk,
        rows: &Range<usize>,
    ) -> Result<Sifted> {
        let mut sifted = Sifted::default();
        for refusal in self.connection.ask(what, &sieve.take).await? {
            let number = refusal.get(0).and_then(|number| number.parse::<usize>().ok());
            let row = rows.start + number.map_or(0, |number| number.saturating_sub(1));
            match (refusal.get(1), refusal.get(2)) {
                (Some(code), Some(message)) if is_about_row(code, false) => {
                    sifted.refused.push(chunk.refuse(row, reason(message, refusal.get(3))));
                }
                (None, _) => return Err(left_out(what, 0, 1)),
                (Some(_), _) => sifted.unclear.push(row),
            }
        }
        Ok(sifted)
    }

    /// Makes the tables of rows that are tried one by one, and gives the `COPY` that fills them;
    /// none where the login may not, or a single row would be written another way than many.
    async fn may_sift<'a>(&mut self, layout: &'a Layout) -> Result<Option<(&'a Sieve, Statement)>> {
        let Some(sieve) = &layout.sieve else { return Ok(None) };
        let Tables::Made(made) = &self.sieve else { return Ok(None) };
        if let Some(copy) = made.get(&layout.number) {
            return Ok(Some((sieve, copy.clone())));
        }
        let what = writing(layout);
        self.run(&what, TRYING).await?;
        match self.make(&what, sieve).await {
            Ok(copy) => {
                self.run(&what, KEEP).await?;
                if let Tables::Made(made) = &mut self.sieve {
                    made.insert(layout.number, copy.clone());
                }
                Ok(Some((sieve, copy)))
            }
            Err(error) if error.retry() || self.connection.is_closed() => Err(error),
            Err(error) => {
                debug!(error = error.chain(), "rows that are refused are looked for slowly");
                self.run(&what, DROP).await?;
                self.sieve = Tables::Forbidden;
                Ok(None)
            }
        }
    }

    async fn make(&self, what: &str, sieve: &Sieve) -> Result<Statement> {
        self.run(what, &sieve.create).await?;
        self.connection.prepare(what, &sieve.copy).await
    }

    /// One attempt at some rows; the reason if any of them is refused.
    async fn attempt(&self, layout: &Layout, chunk: &Chunk, rows: &Range<usize>) -> Result<Tried> {
        let what = writing(layout);
        let copy = &self.copies[&layout.number];
        let taken = match self.connection.copy(&what, copy, pieces(chunk, rows)).await? {
            Ok(taken) => taken,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if taken != rows.len() as u64 {
            return Err(left_out(&what, taken, rows.len()));
        }
        let Some(upsert) = &layout.upsert else { return Ok(Ok(())) };
        let merged: Taken = self.connection.take(&what, &upsert.merge).await?;
        if let Err(refusal) = merged {
            return Ok(Err(refusal));
        }
        self.run(&what, &upsert.clear).await?;
        Ok(Ok(()))
    }

    async fn run(&self, what: &str, statement: &str) -> Result<()> {
        self.connection.execute(what, statement).await
    }
}

/// What came of rows that were tried one by one.
#[derive(Default)]
struct Sifted {
    /// Those that are refused.
    refused: Vec<Refused>,
    /// Those that were not taken for a reason which may not be theirs: only the answer to a `COPY`
    /// tells that.
    unclear: Vec<usize>,
}

fn left_out(what: &str, taken: u64, count: usize) -> Error {
    Error::external(what)
        .because(format!("it took {taken} of {count} rows"))
        .hint("a trigger leaves rows out; make it raise an exception instead")
}

fn writing(layout: &Layout) -> String {
    format!("could not write table {:?}", layout.table.shown())
}

/// Some rows as a whole `COPY`.
fn pieces(chunk: &Chunk, rows: &Range<usize>) -> Vec<Bytes> {
    let mut pieces = vec![Bytes::from_static(HEADER)];
    pieces.extend(chunk.slices(rows.clone()));
    pieces.push(Bytes::from_static(TRAILER));
    pieces
}
