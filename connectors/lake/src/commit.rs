//! Publishes epochs in a table's log: one conditional put per commit, with a token per lineage.
//!
//! The log is known up to one version, with the tokens that hold there; a commit is written as
//! exactly the next version. If that name is taken, what stands there is read and the tokens are
//! compared again. So no commit is ever built on a state of the table that it has not seen.

use std::collections::{HashMap, HashSet};

use chrono::Utc;
use contract::error::Context;
use contract::sink::{Commit, CommitOutcome, Held, Token, WriterContext};
use contract::{Error, Lineage, Result};
use deltalake::kernel::transaction::{CommitData, PROTOCOL, TransactionError};
use deltalake::kernel::{
    Action, Add, EagerSnapshot, Metadata, MetadataExt, StructField, StructType, Transaction,
};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::protocol::{DeltaOperation, OutputMode};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fit::Shape;
use crate::{schema, table};

/// How often a commit may find its version taken before we call it a failure of the store.
const ATTEMPTS_MAX: usize = 100;

/// What a checkpoint keeps of a prepared epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Committable {
    /// The files, as they will stand in the table's log.
    pub files: Vec<Add>,
    /// The columns that they have.
    pub columns: Vec<StructField>,
    /// Those that the table lacked before, by name: another one that it lacks was dropped since.
    /// None in checkpoints of programs that added whatever was missing.
    #[serde(default)]
    pub new: Option<Vec<String>>,
}

/// A decided epoch that is to be published.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The epoch, as the runtime asks for it.
    pub commit: Commit,
    /// The random number of the lineage's checkpoint 0.
    pub incarnation: u32,
    /// Files that this process has just written, so that nobody need look whether they exist.
    pub written: HashSet<String>,
}

/// Who commits: names the tokens of its lineages.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink's name.
    pub sink: String,
}

impl Owner {
    /// The owner that a writer's context names.
    pub fn of(ctx: &WriterContext) -> Self {
        Self { pipeline: ctx.pipeline.clone(), sink: ctx.sink.clone() }
    }

    /// The name under which the table keeps a lineage's token.
    pub fn app_id(&self, lineage: &Lineage) -> String {
        format!("{}/{lineage}/{}", self.pipeline, self.sink)
    }
}

/// The version of a transaction that holds a token.
fn version(incarnation: u32, epoch: u64) -> Result<i64> {
    let epoch = u32::try_from(epoch)
        .map_err(|error| Error::bug("epochs of a lake end at 4,294,967,295").because(error))?;
    Ok(((u64::from(incarnation) << 32) | u64::from(epoch)).cast_signed())
}

/// Reads a token from the version of a transaction.
fn token(version: i64) -> Token {
    let bits = version.cast_unsigned();
    Token { epoch: bits & 0xffff_ffff, incarnation: (bits >> 32) as u32 }
}

/// The token that a table holds of a lineage.
///
/// # Errors
/// External: the table cannot be read.
pub async fn held(log_store: &LogStoreRef, owner: &Owner, lineage: &Lineage) -> Result<Held> {
    let Some(snapshot) = table::snapshot(log_store).await? else { return Ok(Held::Nothing) };
    let version = transaction(log_store, &snapshot, &owner.app_id(lineage)).await?;
    Ok(version.map_or(Held::Nothing, |version| Held::Token(token(version))))
}

async fn transaction(
    log_store: &LogStoreRef,
    snapshot: &EagerSnapshot,
    app_id: &str,
) -> Result<Option<i64>> {
    snapshot
        .transaction_version(log_store.as_ref(), app_id)
        .await
        .transient(|| format!("could not read the token {app_id:?} of a lake table"))
}

/// The log of one table as one owner knows it.
pub struct Log {
    log_store: LogStoreRef,
    owner: Owner,
    name: String,
    known: Option<Known>,
}

/// The table at one version.
struct Known {
    version: u64,
    metadata: Metadata,
    columns: StructType,
    /// By application id; none where the table has no token of it.
    tokens: HashMap<String, Option<i64>>,
}

/// What to do about one commit.
enum Step {
    Settled(CommitOutcome),
    Publish(Committable, Transaction),
}

impl Log {
    /// Knows nothing yet.
    pub fn new(log_store: LogStoreRef, owner: Owner, name: &str) -> Self {
        Self { log_store, owner, name: name.to_owned(), known: None }
    }

    /// The newest version that is known; none before the first commit.
    pub fn version(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.version)
    }

    /// Makes decided epochs of different lineages visible, all in one commit.
    ///
    /// # Errors
    /// Config: the table's columns do not fit. Otherwise the outcome is unknown.
    pub async fn publish(&mut self, wishes: &[Wish]) -> Result<Vec<CommitOutcome>> {
        let published = self.try_publish(wishes).await;
        if published.is_err() {
            // Whatever is in the log now, the next call reads it from there.
            self.known = None;
        }
        published
    }

    async fn try_publish(&mut self, wishes: &[Wish]) -> Result<Vec<CommitOutcome>> {
        // What was learnt in an earlier call may be behind the log.
        let mut current = self.known.is_none();
        for _ in 0..ATTEMPTS_MAX {
            self.know(wishes).await?;
            let mut steps = Vec::with_capacity(wishes.len());
            for wish in wishes {
                steps.push(self.step(wish).await?);
            }
            let refused = steps.iter().any(|step| outcome(step) == CommitOutcome::NotOwner);
            if refused && !current {
                self.catch_up().await?;
                current = true;
                continue;
            }
            let Some((version, bytes)) = self.next_entry(&steps)? else {
                return Ok(steps.iter().map(outcome).collect());
            };
            self.stands(version - 1).await?;
            contract::failpoint::reach("lake.commit.before").await?;
            let put = self
                .log_store
                .write_commit_entry(version, CommitOrBytes::LogBytes(bytes), Uuid::new_v4())
                .await;
            contract::failpoint::reach("lake.commit.after").await?;
            match put {
                Ok(()) => {
                    self.published(version, &steps);
                    return Ok(steps.iter().map(outcome).collect());
                }
                Err(TransactionError::VersionAlreadyExists(_)) => self.catch_up().await?,
                Err(error) => {
                    let message = format!("could not commit to lake table {:?}", self.name);
                    return Err(Error::transient(message).because(error));
                }
            }
        }
        let message = format!("lake table {:?} was always committed to by others", self.name);
        Err(Error::transient(message))
    }

    /// Looks at what others made of the table before an epoch of a lineage is decided, and returns
    /// the columns of its files that the table lacks.
    ///
    /// # Errors
    /// Config: the table does not take these files as it is by now. Retryable External: it was
    /// dropped, or the store does not answer.
    pub async fn look(&mut self, lineage: &Lineage, files: &Committable) -> Result<Vec<String>> {
        self.catch_up().await?;
        if self.known.is_none() {
            let app_ids = HashSet::from([self.owner.app_id(lineage)]);
            self.known = Some(Known::load(&self.log_store, &self.name, app_ids).await?);
        }
        let Some(known) = &self.known else { return Ok(Vec::new()) };
        let version = known.version;
        known.shape(&self.name).takes(files)?;
        let lacks = known.shape(&self.name).lacks(&files.columns).map(str::to_owned).collect();
        let stands = self.stands(version).await;
        if stands.is_err() {
            self.known = None;
        }
        stands.map(|()| lacks)
    }

    /// Loads the table unless the tokens of all these lineages are known, of one version.
    async fn know(&mut self, wishes: &[Wish]) -> Result<()> {
        let app_ids = wishes.iter().map(|wish| self.owner.app_id(&wish.commit.lineage));
        let mut app_ids: HashSet<_> = app_ids.collect();
        if let Some(known) = &self.known {
            if app_ids.iter().all(|app_id| known.tokens.contains_key(app_id)) {
                return Ok(());
            }
            app_ids.extend(known.tokens.keys().cloned());
        }
        self.known = Some(Known::load(&self.log_store, &self.name, app_ids).await?);
        Ok(())
    }

    /// Compares the token with what the commit expects.
    async fn step(&self, wish: &Wish) -> Result<Step> {
        let commit = &wish.commit;
        let app_id = self.owner.app_id(&commit.lineage);
        let held = self.known.as_ref().and_then(|known| *known.tokens.get(&app_id)?);
        let token = version(wish.incarnation, commit.epoch)?;
        let expected = commit.prev.map(|prev| version(wish.incarnation, prev)).transpose()?;
        if held == Some(token) {
            return Ok(Step::Settled(CommitOutcome::Committed));
        }
        if held != expected {
            return Ok(Step::Settled(CommitOutcome::NotOwner));
        }
        let Some(committable) = &commit.committable else {
            return Ok(Step::Settled(CommitOutcome::NeedsReplay));
        };
        let committable: Committable = serde_json::from_value(committable.clone())
            .bug("a checkpoint holds a committable that this version cannot read")?;
        let unsure = committable.files.iter().filter(|file| !wish.written.contains(&file.path));
        if !self.all_there(unsure).await? {
            return Ok(Step::Settled(CommitOutcome::NeedsReplay));
        }
        let now = Some(Utc::now().timestamp_millis());
        Ok(Step::Publish(committable, Transaction::new_with_last_update(app_id, token, now)))
    }

    /// Whether every file is there, at its size.
    async fn all_there(&self, files: impl Iterator<Item = &Add>) -> Result<bool> {
        let store = self.log_store.object_store(None);
        for file in files {
            let path = Path::parse(&file.path).bug("a committable names no path")?;
            match store.head(&path).await {
                Ok(found) if found.size == file.size.cast_unsigned() => {}
                Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
                Err(error) => {
                    let message = format!("could not look for file {:?}", file.path);
                    return Err(Error::transient(message).because(error));
                }
            }
        }
        Ok(true)
    }

    /// The next entry of the log; none if nothing is to be published.
    fn next_entry(&self, steps: &[Step]) -> Result<Option<(u64, bytes::Bytes)>> {
        let publish = steps.iter().filter_map(|step| match step {
            Step::Publish(committable, transaction) => Some((committable, transaction)),
            Step::Settled(_) => None,
        });
        let publish: Vec<_> = publish.collect();
        let (Some(known), Some((_, first))) = (&self.known, publish.first()) else {
            return Ok(None);
        };
        let operation = DeltaOperation::StreamingUpdate {
            output_mode: OutputMode::Append,
            query_id: first.app_id.clone(),
            epoch_id: token(first.version).epoch.cast_signed(),
        };
        for (committable, _) in &publish {
            known.shape(&self.name).takes(committable)?;
        }
        let mut actions = Vec::new();
        if let Some(metadata) = known.grown(&publish, &self.name)? {
            actions.push(Action::Metadata(metadata));
        }
        let mut transactions = Vec::new();
        for (committable, transaction) in publish {
            actions.extend(committable.files.iter().cloned().map(Action::Add));
            transactions.push(transaction.clone());
        }
        let entry = CommitData::new(actions, operation, HashMap::new(), transactions);
        let bytes = entry.get_bytes().bug("could not write an entry of a table's log")?;
        Ok(Some((known.version + 1, bytes)))
    }

    fn published(&mut self, version: u64, steps: &[Step]) {
        let mut grew = false;
        for step in steps {
            let Step::Publish(committable, transaction) = step else { continue };
            if let Some(known) = &mut self.known {
                known.version = version;
                known.tokens.insert(transaction.app_id.clone(), Some(transaction.version));
                grew |= committable.columns.iter().any(|c| known.columns.field(&c.name).is_none());
            }
        }
        if grew {
            // Rare: the columns are read from the log once more.
            self.known = None;
        }
    }

    /// Makes sure that the table still is there: an entry alone would make another one in its
    /// place, without its rows.
    async fn stands(&self, version: u64) -> Result<()> {
        let entry = Path::from(format!("_delta_log/{version:020}.json"));
        let name = &self.name;
        match self.log_store.object_store(None).head(&entry).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => {
                // Another program may have cleaned its log.
                let newest = table::snapshot(&self.log_store).await?;
                match newest.is_some_and(|newest| newest.version() >= version) {
                    true => Ok(()),
                    false => Err(Error::transient(format!(
                        "lake table {name:?} was dropped, or its log was emptied"
                    ))),
                }
            }
            Err(error) => {
                Err(Error::transient(format!("could not look at lake table {name:?}"))
                    .because(error))
            }
        }
    }

    /// Takes in the entries that others wrote since.
    async fn catch_up(&mut self) -> Result<()> {
        let Some(mut known) = self.known.take() else { return Ok(()) };
        let name = &self.name;
        loop {
            let next = known.version + 1;
            let bytes = self
                .log_store
                .read_commit_entry(next)
                .await
                .transient(|| format!("could not read entry {next} of lake table {name:?}"))?;
            let Some(bytes) = bytes else { break };
            let actions = get_actions(next, &bytes)
                .external(|| format!("entry {next} of lake table {name:?} is broken"))?;
            if actions.iter().any(|it| matches!(it, Action::Metadata(_) | Action::Protocol(_))) {
                // Columns or rules of the table changed: the next call loads it anew.
                return Ok(());
            }
            for action in actions {
                if let Action::Txn(transaction) = action {
                    known.tokens.insert(transaction.app_id, Some(transaction.version));
                }
            }
            known.version = next;
        }
        self.known = Some(known);
        Ok(())
    }
}

impl Known {
    async fn load(log_store: &LogStoreRef, name: &str, app_ids: HashSet<String>) -> Result<Self> {
        let snapshot = table::snapshot(log_store)
            .await?
            .ok_or_else(|| Error::transient(format!("lake table {name:?} is gone")))?;
        PROTOCOL.can_write_to(&snapshot).map_err(|error| {
            Error::config(format!("lake table {name:?} uses features that Logmill cannot write"))
                .because(error)
        })?;
        let mut tokens = HashMap::new();
        for app_id in app_ids {
            let version = transaction(log_store, &snapshot, &app_id).await?;
            tokens.insert(app_id, version);
        }
        Ok(Self {
            version: snapshot.version(),
            metadata: snapshot.metadata().clone(),
            columns: snapshot.schema().as_ref().clone(),
            tokens,
        })
    }

    /// What the table is.
    fn shape<'a>(&'a self, name: &'a str) -> Shape<'a> {
        Shape { name, metadata: &self.metadata, columns: &self.columns }
    }

    /// The table's metadata with the columns that it lacks; none if it lacks none.
    fn grown(
        &self,
        publish: &[(&Committable, &Transaction)],
        name: &str,
    ) -> Result<Option<Metadata>> {
        let mut grown: Option<StructType> = None;
        for (committable, _) in publish {
            let columns = grown.as_ref().unwrap_or(&self.columns);
            let is_dropped = |column: &&StructField| {
                let news = committable.new.as_ref();
                columns.field(&column.name).is_none()
                    && news.is_some_and(|new| !new.contains(&column.name))
            };
            let wanted = committable.columns.iter().filter(|column| !is_dropped(column));
            let wanted: Vec<_> = wanted.cloned().collect();
            if let Some(more) = schema::grow(columns, &wanted, name)? {
                grown = Some(more);
            }
        }
        let with_columns = |columns| self.metadata.clone().with_schema(&columns);
        grown.map(with_columns).transpose().bug("could not write a table's columns")
    }
}

fn outcome(step: &Step) -> CommitOutcome {
    match step {
        Step::Settled(outcome) => *outcome,
        Step::Publish(..) => CommitOutcome::Committed,
    }
}
