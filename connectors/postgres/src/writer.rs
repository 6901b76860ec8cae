//! Writes epochs of one lineage: rows of an epoch in one transaction, its token last.
//!
//! While the server takes one chunk, the next one is encoded. A connection that is lost takes the
//! epoch's rows with it, so that no other one may go on in its place before the epoch is dropped.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::sink::{
    Commit, CommitOutcome, OneLineage, Prepared, Rejects, Room, Writer, WriterContext,
};
use contract::{Error, ErrorKind, Lineage, Result, failpoint};
use tokio::task::JoinSet;
use tracing::debug;

use crate::chunk::{Chunk, Refused};
use crate::encode::encode;
use crate::layout::Layout;
use crate::session::Session;
use crate::sink::Shared;
use crate::token::TokenRow;

/// The most bytes that one `COPY` carries; more would only need more memory.
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Chunks that are in memory at once: one at the server, one under way, one in the making.
const CHUNKS_IN_MEMORY: usize = 3;
/// How many times smaller a chunk is until one was taken, at least in half: the server's reasons
/// take more memory than the rows.
const CAUTION: usize = 8;

/// Writes one lineage.
pub struct PostgresWriter {
    shared: Arc<Shared>,
    ctx: WriterContext,
    lineage: OneLineage,
    layout: Arc<Layout>,
    chunk_bytes: usize,
    chunk: Chunk,
    /// The connection while it is idle.
    session: Option<Session>,
    /// The connection while it writes a chunk.
    busy: JoinSet<Result<(Session, Written)>>,
    /// Whether the last chunk was taken, at least in half.
    is_taken: bool,
    epoch: OpenEpoch,
}

/// What came of a chunk.
struct Written {
    rows: usize,
    refused: Vec<Refused>,
}

/// What is known of the epoch under way.
#[derive(Default)]
struct OpenEpoch {
    /// Whether its transaction is open.
    begun: bool,
    /// Rows that were sent and not refused.
    rows: u64,
    rejects: Rejects,
    /// The epoch's number, once it is prepared.
    prepared: Option<u64>,
}

impl PostgresWriter {
    /// A writer with its first connection.
    pub fn new(
        shared: Arc<Shared>,
        ctx: WriterContext,
        layout: Arc<Layout>,
        session: Session,
    ) -> Self {
        let chunk_bytes = (ctx.memory_bytes / CHUNKS_IN_MEMORY).min(CHUNK_BYTES_MAX);
        Self {
            shared,
            ctx,
            lineage: OneLineage::default(),
            layout,
            chunk_bytes,
            chunk: Chunk::default(),
            session: Some(session),
            busy: JoinSet::new(),
            is_taken: false,
            epoch: OpenEpoch::default(),
        }
    }

    /// Lets the server take the chunk while the next one is made.
    async fn ship(&mut self, lineage: &Lineage) -> Result<()> {
        let mut session = self.session_of_epoch(lineage).await?;
        let chunk = std::mem::take(&mut self.chunk);
        self.epoch.rows += chunk.rows() as u64;
        self.busy.spawn(async move {
            let refused = session.deliver(&chunk).await?;
            Ok((session, Written { rows: chunk.rows(), refused }))
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
            let (session, Written { rows, refused }) = written?;
            self.is_taken = refused.len() <= rows / 2;
            self.epoch.rows -= refused.len() as u64;
            self.epoch.rejects.extend(refused);
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
                Ok(()) => return self.looked_at(idle).await,
                Err(error) if error.retry() => {
                    debug!(error = error.chain(), "an idle connection is gone");
                }
                Err(error) => return Err(error),
            }
        }
        let mut session = self.shared.session(&self.ctx, &self.layout).await?;
        self.begin_on(&mut session, lineage).await?;
        self.looked_at(session).await
    }

    /// A connection whose table is still the one that rows are encoded for.
    async fn looked_at(&self, session: Session) -> Result<Session> {
        session.look().await?;
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
        self.epoch = OpenEpoch::default();
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
            None => self.shared.session(&self.ctx, &self.layout).await?,
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
        self.chunk = Chunk::default();
        let begun = std::mem::take(&mut self.epoch).begun;
        if begun && let Some(session) = self.session.take() {
            session.roll_back().await?;
            self.session = Some(session);
        }
        Ok(())
    }

    fn token_row(&self, lineage: &Lineage) -> TokenRow {
        TokenRow::new(&self.shared.table, &self.ctx, lineage)
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.lineage.take(lineage)?;
        let (part, refused) = encode(&records, &self.layout.columns)?;
        self.epoch.rejects.extend(refused);
        self.chunk.push(part);
        let parts = if self.is_taken { 1 } else { CAUTION };
        if self.chunk.bytes() >= self.chunk_bytes / parts {
            self.ship(lineage).await?;
        }
        Ok(self.epoch.rejects.room())
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        self.lineage.take(lineage)?;
        if self.chunk.rows() > 0 {
            self.ship(lineage).await?;
        }
        let session = self.session_of_epoch(lineage).await?;
        // A schema that took the place of another one is kept out by no lock.
        session.look().await?;
        self.session = Some(session);
        self.epoch.prepared = Some(epoch);
        let rows = self.epoch.rows;
        Ok(Prepared {
            rows,
            rejects: self.epoch.rejects.take(),
            committable: None,
            identities: vec![self.shared.identity(self.layout.shape.id, rows)],
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
}
