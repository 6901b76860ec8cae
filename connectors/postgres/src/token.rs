//! Tokens: one row for each lineage of a sink, in a table beside the one that gets the rows.
//!
//! The row says which epoch the sink holds, and which process of the server may bring it further.
//! A new owner ends the process that stands there and puts its own in its place. A commit changes
//! the row only where it still holds the epoch before and the committing process itself: so two
//! owners can never both commit, even if one of them could not be ended.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use contract::sink::{Commit, Held, Token, WriterContext};
use contract::{Error, Lineage, Result};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracing::warn;

use crate::client::{Backend, Connection};
use crate::table::{TOKENS, TableName};
use crate::{catalog, create};

/// A value in a statement.
type Value = dyn ToSql + Sync;

/// How long an earlier owner may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often other new owners may come in between.
const FENCE_ATTEMPTS_MAX: usize = 10;

/// The row of one lineage of a sink and of the table that it writes.
#[derive(Clone, Debug)]
pub struct TokenRow {
    tokens: TableName,
    table: String,
    pipeline: String,
    sink: String,
    lineage: String,
    incarnation: i64,
}

/// What stands in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The epoch and its incarnation; none before the first.
    pub token: Option<(i64, i64)>,
    /// Who may commit.
    pub owner: Option<Backend>,
}

/// The table of tokens beside a table.
pub fn table(beside: &TableName) -> TableName {
    beside.beside(TOKENS)
}

/// Makes the table of tokens beside a table, in a transaction of its own.
///
/// # Errors
/// From the server.
pub async fn make_table(connection: &Connection, beside: &TableName) -> Result<()> {
    let table = beside.beside(TOKENS);
    let statement = format!(
        "CREATE TABLE {table} (table_name text, pipeline text, sink text, lineage text, \
         epoch bigint, incarnation bigint, pid integer, backend_start timestamptz, \
         PRIMARY KEY (table_name, pipeline, sink, lineage))"
    );
    create::make_if_absent(connection, &table, &[statement]).await
}

/// The tables of a schema that have tokens of their own: those of sinks with one table. None where
/// there is no table of tokens.
///
/// # Errors
/// From the server.
pub async fn tables(connection: &Connection, beside: &TableName) -> Result<HashSet<String>> {
    let tokens = table(beside);
    if !catalog::exists(connection, &tokens).await? {
        return Ok(HashSet::new());
    }
    let what = format!("could not read the tokens in \"{}\"", tokens.shown());
    let statement = format!("SELECT DISTINCT table_name FROM {tokens}");
    let rows = connection.query(&what, &statement, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The newest epoch that a sink's table holds by its tokens, whatever the lineage.
///
/// # Errors
/// From the server.
pub async fn newest(
    connection: &Connection,
    table: &TableName,
    (pipeline, sink): (&str, &str),
) -> Result<Option<i64>> {
    let tokens = self::table(table);
    let statement = format!(
        "SELECT max(epoch) FROM {tokens} WHERE table_name = $1 AND pipeline = $2 AND sink = $3"
    );
    let what = format!("could not read the tokens in \"{}\"", tokens.shown());
    let rows = connection.query(&what, &statement, &[&table.name, &pipeline, &sink]).await?;
    Ok(rows.first().and_then(|row| row.get(0)))
}

impl TokenRow {
    /// The row of a lineage, for a sink that writes `table`.
    pub fn new(table: &TableName, ctx: &WriterContext, lineage: &Lineage) -> Self {
        Self {
            tokens: table.beside(TOKENS),
            table: table.name.clone(),
            pipeline: ctx.pipeline.clone(),
            sink: ctx.sink.clone(),
            lineage: lineage.as_str().to_owned(),
            incarnation: i64::from(ctx.incarnation),
        }
    }

    /// Ends the process that may commit, and puts the connection's own in its place.
    ///
    /// # Errors
    /// External: the row stays locked, or others fence at the same time.
    pub async fn fence(&self, connection: &Connection) -> Result<Held> {
        let what = self.trying("could not fence");
        for _ in 0..FENCE_ATTEMPTS_MAX {
            let Some(found) = self.read(connection).await? else {
                self.insert(connection).await?;
                continue;
            };
            if let Some(owner) = found.owner {
                end(connection, owner).await?;
            }
            if self.replace_owner(connection, found.owner).await? {
                // Nobody but us could change it since.
                let now = self.read(connection).await?;
                return held(now.and_then(|state| state.token));
            }
        }
        Err(Error::transient(what).because("other processes fence it again and again"))
    }

    /// Puts the connection's own process in the place of another one of ours.
    ///
    /// # Errors
    /// External.
    pub async fn hand_over(&self, connection: &Connection, from: Backend) -> Result<bool> {
        self.replace_owner(connection, Some(from)).await
    }

    /// What stands in the row; none if there is none.
    ///
    /// # Errors
    /// External.
    pub async fn read(&self, connection: &Connection) -> Result<Option<State>> {
        let statement = format!(
            "SELECT epoch, incarnation, pid, backend_start FROM {} WHERE {KEY}",
            self.tokens
        );
        let what = self.trying("could not read");
        let rows = connection.query(&what, &statement, &self.key()).await?;
        Ok(rows.first().map(state))
    }

    /// Changes the row to an epoch, inside the transaction that holds its rows. False if it does
    /// not hold the epoch before, or somebody else may commit.
    ///
    /// # Errors
    /// External.
    pub async fn advance(&self, connection: &Connection, commit: &Commit) -> Result<bool> {
        let statement = format!(
            "UPDATE {} SET epoch = $5, incarnation = $6 WHERE {KEY} AND pid = pg_backend_pid() \
             AND epoch IS NOT DISTINCT FROM $7 AND (epoch IS NULL OR incarnation = $6) \
             RETURNING 1",
            self.tokens
        );
        let prev = commit.prev.map(u64::cast_signed);
        let what = self.trying("could not advance");
        let rows = connection
            .query(
                &what,
                &statement,
                &self.key_and(&[&commit.epoch.cast_signed(), &self.incarnation, &prev]),
            )
            .await?;
        Ok(rows.len() == 1)
    }

    /// Whether a state says that an epoch is held.
    pub fn holds(&self, state: &State, epoch: Option<u64>) -> bool {
        let expected = epoch.map(|epoch| (epoch.cast_signed(), self.incarnation));
        state.token == expected
    }

    async fn insert(&self, connection: &Connection) -> Result<()> {
        let statement = format!(
            "INSERT INTO {} (table_name, pipeline, sink, lineage) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
            self.tokens
        );
        let what = self.trying("could not insert");
        connection.query(&what, &statement, &self.key()).await?;
        Ok(())
    }

    async fn replace_owner(&self, connection: &Connection, old: Option<Backend>) -> Result<bool> {
        let statement = format!(
            "UPDATE {} SET pid = $5, backend_start = $6 WHERE {KEY} \
             AND pid IS NOT DISTINCT FROM $7 AND backend_start IS NOT DISTINCT FROM $8 \
             RETURNING 1",
            self.tokens
        );
        let own = connection.backend();
        let (old_pid, old_started) = (old.map(|old| old.pid), old.map(|old| old.started));
        let what = self.trying("could not take over");
        let rows = connection
            .query(
                &what,
                &statement,
                &self.key_and(&[&own.pid, &own.started, &old_pid, &old_started]),
            )
            .await?;
        Ok(rows.len() == 1)
    }

    fn key(&self) -> Vec<&Value> {
        vec![&self.table, &self.pipeline, &self.sink, &self.lineage]
    }

    fn key_and<'a>(&'a self, values: &[&'a Value]) -> Vec<&'a Value> {
        let mut all = self.key();
        all.extend(values);
        all
    }

    fn trying(&self, verb: &str) -> String {
        format!("{verb} the token of lineage {:?} in \"{}\"", self.lineage, self.tokens.shown())
    }
}

const KEY: &str = "table_name = $1 AND pipeline = $2 AND sink = $3 AND lineage = $4";

fn state(row: &Row) -> State {
    let pair = |epoch: Option<i64>, incarnation: Option<i64>| Some((epoch?, incarnation?));
    let pid: Option<i32> = row.get(2);
    let started = row.get(3);
    State {
        token: pair(row.get(0), row.get(1)),
        owner: pid.zip(started).map(|(pid, started)| Backend { pid, started }),
    }
}

fn held(token: Option<(i64, i64)>) -> Result<Held> {
    let Some((epoch, incarnation)) = token else { return Ok(Held::Nothing) };
    match (u64::try_from(epoch), u32::try_from(incarnation)) {
        (Ok(epoch), Ok(incarnation)) => Ok(Held::Token(Token { epoch, incarnation })),
        _ => Err(Error::external(format!("a token was changed by hand: {epoch}, {incarnation}"))),
    }
}

const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE pid = $1 AND backend_start = $2";
const LIVES: &str = "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2";

/// Ends a process of the server and waits until it is gone. One that may not be ended goes on, but
/// cannot commit once it no longer stands in the row.
async fn end(connection: &Connection, owner: Backend) -> Result<()> {
    let what = format!("could not end process {} of the server", owner.pid);
    let ended = connection.query(&what, END, &[&owner.pid, &owner.started]).await;
    if let Err(error) = ended {
        if connection.is_closed() || error.retry() {
            return Err(error);
        }
        warn!(error = error.chain(), "an earlier owner keeps its locks until it ends by itself");
        return Ok(());
    }
    let until = Instant::now() + END_LIMIT;
    while Instant::now() < until {
        if connection.query(&what, LIVES, &[&owner.pid, &owner.started]).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Error::transient(what).because(format!("it lives after {} s", END_LIMIT.as_secs())))
}
