//! Writes epochs of one lineage: rows of an epoch in one transaction, whatever their tables, its
//! token last.
//!
//! While the server takes one chunk, the next ones are encoded. A connection that is lost takes the
//! epoch's rows with it, so that no other one may go on in its place before the epoch is dropped.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::record::Origins;
use contract::sink::{
    Commit, CommitOutcome, Footprint, OneLineage, Prepared, Rejects, Room, Writer, WriterContext,
};
use contract::{Error, ErrorKind, Lineage, Result, failpoint};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::chunk::Chunk;
use crate::encode::encode;
use crate::layout::Layout;
use crate::names::Division;
use crate::session::{Delivered, Session};
use crate::sink::{Met, Shared, identity};
use crate::table::TableName;
use crate::token::TokenRow;

/// The most bytes that one `COPY` carries; more would only need more memory.
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Chunks of the client's memory: one at the server, one under way.
const CHUNKS_ON_THEIR_WAY: usize = 2;
/// How many times smaller a chunk is until one was taken, at least in half: the server's reasons
/// take more memory than the rows.
const CAUTION: usize = 8;

/// Writes one lineage.
pub struct PostgresWriter {
    shared: Arc<Shared>,
    ctx: WriterContext,
    lineage: OneLineage,
    /// The tables that are known, by their number.
    tables: Vec<Table>,
    numbers: HashMap<TableName, usize>,
    chunk_bytes: usize,
    /// Bytes of the chunks of all tables.
    waiting_bytes: usize,
    /// The connection while it is idle.
    session: Option<Session>,
    /// The connection while it writes a chunk.
    busy: JoinSet<Result<(Session, Written)>>,
    /// Whether the last chunk was taken, at least in half.
    is_taken: bool,
    epoch: OpenEpoch,
}

/// A table that is known.
struct Table {
    layout: Arc<Layout>,
    /// Rows that wait to be sent.
    chunk: Chunk,
    /// Rows of the epoch that were sent and not refused.
    rows: u64,
}

/// What came of a chunk.
struct Written {
    table: usize,
    rows: usize,
    came: Delivered,
}

/// What is known of the epoch under way.
#[derive(Default)]
struct OpenEpoch {
    /// Whether its transaction is open.
    begun: bool,
    rejects: Rejects,
    /// Names under which rows find no table, with the reason.
    unmet: HashMap<TableName, String>,
    /// The epoch's number, once it is prepared.
    prepared: Option<u64>,
}

impl Table {
    fn new(layout: Arc<Layout>) -> Self {
        Self { layout, chunk: Chunk::default(), rows: 0 }
    }
}

impl PostgresWriter {
    /// A writer with its first connection, and the table of all rows where there is only one.
    pub fn new(
        shared: Arc<Shared>,
        ctx: WriterContext,
        only: Option<Arc<Layout>>,
        session: Session,
    ) -> Self {
        let chunk_bytes =
            ctx.memory_bytes.min(ctx.client_bytes / CHUNKS_ON_THEIR_WAY).min(CHUNK_BYTES_MAX);
        let numbers = only.iter().map(|layout| (layout.table.clone(), 0)).collect();
        Self {
            shared,
            ctx,
            lineage: OneLineage::default(),
            tables: only.into_iter().map(Table::new).collect(),
            numbers,
            chunk_bytes,
            waiting_bytes: 0,
            session: Some(session),
            busy: JoinSet::new(),
            is_taken: false,
            epoch: OpenEpoch::default(),
        }
    }

    /// Takes rows that go to one table.
    async fn take(&mut self, lineage: &Lineage, division: Division) -> Result<()> {
        let Division { table, records } = division;
        let found = match table {
            Ok(table) => self.number(lineage, &table).await?,
            Err(reason) => Err(reason),
        };
        match found {
            Ok(number) => self.add(number, &records),
            Err(reason) => self.refuse(&records, &reason),
        }
    }

    /// The number of a table, or why rows that name it can go nowhere.
    async fn number(
        &mut self,
        lineage: &Lineage,
        table: &TableName,
    ) -> Result<std::result::Result<usize, String>> {
        if let Some(reason) = self.epoch.unmet.get(table) {
            return Ok(Err(reason.clone()));
        }
        if let Some(number) = self.numbers.get(table) {
            return Ok(Ok(*number));
        }
        let number = self.tables.len();
        let tables_max = self.shared.tables_max;
        if number >= tables_max {
            return Ok(Err(format!("{tables_max} tables are written to already (`tables_max`)")));
        }
        match self.meet(lineage, (table, number)).await? {
            Ok(layout) => {
                self.tables.push(Table::new(layout));
                self.numbers.insert(table.clone(), number);
                Ok(Ok(number))
            }
            Err(reason) => {
                self.give_up(table.clone(), &reason);
                Ok(Err(reason))
            }
        }
    }

    /// Has rows that name a table become dead letters until the epoch ends.
    fn give_up(&mut self, table: TableName, reason: &str) {
        let unmet = &mut self.epoch.unmet;
        if unmet.is_empty() {
            warn!(reason, "rows that name such a table become dead letters");
        }
        // Beyond these a name is looked up each time that it comes.
        if unmet.len() < self.shared.tables_max {
            unmet.insert(table, reason.to_owned());
        }
    }

    async fn meet(&mut self, lineage: &Lineage, table: (&TableName, usize)) -> Result<Met> {
        let session = self.session_of_epoch(lineage).await?;
        let met = self.shared.meet(&session, &self.ctx, table).await?;
        self.session = Some(session);
        Ok(met)
    }

    /// Adds rows to the chunk of a table.
    fn add(&mut self, number: usize, records: &RecordBatch) -> Result<()> {
        let table = &mut self.tables[number];
        let (part, refused) = encode(records, &table.layout.columns)?;
        self.epoch.rejects.extend(refused);
        let before = table.chunk.bytes();
        table.chunk.push(part);
        self.waiting_bytes += table.chunk.bytes() - before;
        Ok(())
    }

    fn refuse(&mut self, records: &RecordBatch, reason: &str) -> Result<()> {
        let origins = Origins::of(records)?;
        let refused = (0..records.num_rows()).map(|row| origins.refuse(row, reason));
        self.epoch.rejects.extend(refused);
        Ok(())
    }

    /// Sends the largest chunks until those that are left are small enough.
    async fn keep_budget(&mut self, lineage: &Lineage) -> Result<()> {
        loop {
            let parts = if self.is_taken { 1 } else { CAUTION };
            if self.waiting_bytes == 0 || self.waiting_bytes < self.chunk_bytes / parts {
                return Ok(());
            }
            let largest = self.tables.iter().enumerate().max_by_key(|(_, it)| it.chunk.bytes());
            let Some((number, _)) = largest else { return Ok(()) };
            self.ship(lineage, number).await?;
        }
    }

    /// Lets the server take the chunk of a table while the next ones are made.
    async fn ship(&mut self, lineage: &Lineage, number: usize) -> Result<()> {
        let mut session = self.session_of_epoch(lineage).await?;
        let table = &mut self.tables[number];
        let chunk = std::mem::take(&mut table.chunk);
        self.waiting_bytes -= chunk.bytes();
        table.rows += chunk.rows() as u64;
        let layout = table.layout.clone();
        self.busy.spawn(async move {
            let came = session.deliver(&layout, &chunk).await?;
            Ok((session, Written { table: number, rows: chunk.rows(), came }))
        });
        Ok(())
    }

    /// The connection that holds the epoch's transaction, once it is idle.
    async fn session_of_epoch(&mut self, lineage: &Lineage) -> Result<Session> {
        if !self.epoch.begun {
            return self.begin(lineage).await;
        }
        if let Some(written) = self.busy.join_next().await {
            let written = written.map_err(|error| {
                Error::bug("writing a chunk to postgres panicked").because(error)
            })?;
            let (session, Written { table, rows, came: Delivered { refused, unfit } }) = written?;
            self.is_taken = refused.len() <= rows / 2;
            self.tables[table].rows -= refused.len() as u64;
            self.epoch.rejects.extend(refused);
            if let Some(reason) = unfit {
                self.give_up(self.tables[table].layout.table.clone(), &reason);
            }
            return Ok(session);
        }
        let lost = || Error::transient("the connection to postgres that held the epoch is gone");
        self.session.take().ok_or_else(lost)
    }

    /// Opens the epoch's transaction. A connection that was lost while it was idle took nothing
    /// with it, so that another one takes its place.
    async fn begin(&mut self, lineage: &Lineage) -> Result<Session> {
        if let Some(mut idle) = self.session.take() {
            match self.begin_on(&mut idle, lineage).await {
                Ok(()) => return Ok(idle),
                Err(error) if error.retry() => {
                    debug!(error = error.chain(), "an idle connection is gone");
                }
                Err(error) => return Err(error),
            }
        }
        let mut session = self.shared.session(&self.ctx).await?;
        self.begin_on(&mut session, lineage).await?;
        Ok(session)
    }

    /// Opens the transaction, after the connection has taken its place in the token's row.
    async fn begin_on(&mut self, session: &mut Session, lineage: &Lineage) -> Result<()> {
        let own = session.backend();
        let owner = self.shared.owner(lineage)?;
        if owner != own {
            if !self.token_row(lineage).hand_over(session.connection(), owner).await? {
                return Err(Error::new(
                    ErrorKind::NotOwner,
                    format!("another process writes lineage \"{lineage}\" of this sink"),
                )
                .hint("only one process may run a pipeline; give the other one another `name`"));
            }
            self.shared.set_owner(lineage, own);
        }
        session.begin().await?;
        self.epoch.begun = true;
        Ok(())
    }

    async fn commit_one(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        failpoint::reach("postgres.commit.before").await?;
        let row = self.token_row(&commit.lineage);
        if self.epoch.prepared != Some(commit.epoch) {
            self.drop_epoch().await?;
            return self.settle(&row, commit).await;
        }
        self.forget_epoch();
        let session = self.session.take().expect("a prepared epoch has its connection");
        match row.advance(session.connection(), commit).await {
            Ok(true) => self.finish(session).await,
            Ok(false) => {
                session.roll_back().await?;
                self.session = Some(session);
                match self.settle(&row, commit).await? {
                    CommitOutcome::Committed => Ok(CommitOutcome::Committed),
                    _ => Ok(CommitOutcome::NotOwner),
                }
            }
            Err(error) => {
                debug!(error = error.chain(), "a prepared transaction is gone");
                drop(session);
                self.settle(&row, commit).await
            }
        }
    }

    /// Makes the epoch durable, whose token is in the transaction by now.
    async fn finish(&mut self, session: Session) -> Result<CommitOutcome> {
        failpoint::reach("postgres.commit.token").await?;
        session.commit().await?;
        failpoint::reach("postgres.commit.after").await?;
        self.session = Some(session);
        Ok(CommitOutcome::Committed)
    }

    /// Says what became of an epoch that is not in our hands, from the token alone.
    async fn settle(&mut self, row: &TokenRow, commit: &Commit) -> Result<CommitOutcome> {
        let idle = self.session.take().filter(|session| !session.connection().is_closed());
        let session = match idle {
            Some(session) => session,
            None => self.shared.session(&self.ctx).await?,
        };
        let held = row.read(session.connection()).await?;
        self.session = Some(session);
        let owner = self.shared.owner(&commit.lineage)?;
        Ok(match held {
            Some(held) if row.holds(&held, Some(commit.epoch)) => CommitOutcome::Committed,
            Some(held) if row.holds(&held, commit.prev) && held.owner == Some(owner) => {
                CommitOutcome::NeedsReplay
            }
            _ => CommitOutcome::NotOwner,
        })
    }

    /// Drops what is not decided. A connection in the middle of a chunk is closed, and the server
    /// rolls back.
    async fn drop_epoch(&mut self) -> Result<()> {
        self.busy.shutdown().await;
        self.tables.iter_mut().for_each(|table| table.chunk = Chunk::default());
        self.waiting_bytes = 0;
        if self.forget_epoch().begun
            && let Some(session) = self.session.take()
        {
            session.roll_back().await?;
            self.session = Some(session);
        }
        Ok(())
    }

    /// Makes room for the next epoch; the tables stay known.
    fn forget_epoch(&mut self) -> OpenEpoch {
        self.tables.iter_mut().for_each(|table| table.rows = 0);
        std::mem::take(&mut self.epoch)
    }

    fn token_row(&self, lineage: &Lineage) -> TokenRow {
        TokenRow::new(self.shared.maker.tables.written(), &self.ctx, lineage)
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.lineage.take(lineage)?;
        let shared = self.shared.clone();
        for division in shared.maker.tables.divide(records)? {
            self.take(lineage, division).await?;
        }
        self.keep_budget(lineage).await?;
        Ok(self.epoch.rejects.room())
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        self.lineage.take(lineage)?;
        for number in 0..self.tables.len() {
            if self.tables[number].chunk.rows() > 0 {
                self.ship(lineage, number).await?;
            }
        }
        let mut session = self.session_of_epoch(lineage).await?;
        let only = self.tables.first().filter(|_| self.shared.maker.tables.only().is_some());
        if let Some(only) = only {
            // Told even where it took no row.
            session.enter(&only.layout).await?;
        }
        // A schema that took the place of another one is kept out by no lock.
        session.look_again().await?;
        let told = self.tables.iter().filter(|it| it.rows > 0 || only.is_some());
        let told = told.map(|it| identity(&it.layout.table, it.layout.shape.id, it.rows));
        let mut identities: Vec<_> = told.collect();
        identities.sort_by(|one, other| one.place.cmp(&other.place));
        self.session = Some(session);
        self.epoch.prepared = Some(epoch);
        Ok(Prepared {
            rows: self.tables.iter().map(|table| table.rows).sum(),
            rejects: self.epoch.rejects.take(),
            committable: None,
            identities,
        })
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.lineage.take(&commit.lineage)?;
        self.commit_one(commit).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.lineage.take(lineage)?;
        self.drop_epoch().await
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            own: self.waiting_bytes + self.epoch.rejects.bytes(),
            clients: self.busy.len() * self.chunk_bytes,
            refused: self.epoch.rejects.bytes(),
        }
    }
}
