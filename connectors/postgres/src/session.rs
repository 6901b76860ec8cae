//! One connection in one epoch's transaction: takes chunks, and finds the rows that are refused.
//!
//! Each attempt at rows stands under a savepoint, so that a refused row costs its chunk nothing.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Error, Result};
use tokio_postgres::Statement;

use crate::chunk::{Chunk, Refused};
use crate::client::{Backend, Connection, Taken};
use crate::layout::Layout;

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
    table: String,
    layout: Arc<Layout>,
    copy: Statement,
}

impl Session {
    /// Prepares a connection for a table.
    ///
    /// # Errors
    /// From the server.
    pub async fn new(connection: Connection, layout: Arc<Layout>, table: String) -> Result<Self> {
        let what = format!("could not prepare to write table {table:?}");
        if let Some(upsert) = &layout.upsert {
            connection.execute(&what, &upsert.create).await?;
        }
        let copy = connection.prepare(&what, &layout.copy).await?;
        Ok(Self { connection, table, layout, copy })
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
    pub async fn begin(&self) -> Result<()> {
        self.run(BEGIN).await
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

    /// Writes the rows of a chunk, in order, but for those that the table refuses.
    ///
    /// # Errors
    /// From the server: the transaction is lost.
    pub async fn deliver(&self, chunk: &Chunk) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let whole = 0..chunk.rows();
        let mut ranges = Vec::from([whole]);
        while let Some(rows) = ranges.pop() {
            self.run(TRYING).await?;
            match self.attempt(chunk.slices(rows.clone()), rows.len()).await? {
                Ok(()) => self.run(KEEP).await?,
                Err(reason) => {
                    self.run(DROP).await?;
                    if rows.len() == 1 {
                        refused.push(chunk.refuse(rows.start, reason));
                        continue;
                    }
                    let middle = rows.start + rows.len() / 2;
                    ranges.push(middle..rows.end);
                    ranges.push(rows.start..middle);
                }
            }
        }
        Ok(refused)
    }

    /// One attempt at some rows; the reason if any of them is refused.
    async fn attempt(
        &self,
        rows: Vec<Bytes>,
        count: usize,
    ) -> Result<std::result::Result<(), String>> {
        let what = self.writing();
        let mut pieces = vec![Bytes::from_static(HEADER)];
        pieces.extend(rows);
        pieces.push(Bytes::from_static(TRAILER));
        let taken = match self.connection.copy(&what, &self.copy, pieces).await? {
            Ok(taken) => taken,
            Err(reason) => return Ok(Err(reason)),
        };
        if taken != count as u64 {
            return Err(Error::external(what)
                .because(format!("it took {taken} of {count} rows"))
                .hint("a trigger leaves rows out; make it raise an exception instead"));
        }
        let Some(upsert) = &self.layout.upsert else { return Ok(Ok(())) };
        let merged: Taken = self.connection.take(&what, &upsert.merge).await?;
        if let Err(reason) = merged {
            return Ok(Err(reason));
        }
        self.run(&upsert.clear).await?;
        Ok(Ok(()))
    }

    async fn run(&self, statement: &str) -> Result<()> {
        self.connection.execute(&self.writing(), statement).await
    }

    fn writing(&self) -> String {
        format!("could not write table {:?}", self.table)
    }
}
