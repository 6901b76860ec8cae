//! Puts rows into objects and stages them.
//!
//! An object holds rows of one way with the same values in its name, in their order. Where one ends
//! and the next begins depends on the rows alone: never on batches, memory or time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use contract::error::Context;
use contract::failpoint::reach;
use contract::record::{EPOCH, Origins, positions};
use contract::sink::{
    self, Commit, CommitOutcome, Footprint, Prepared, Rejects, Room, Writer, WriterContext,
};
use contract::{Error, Lineage, Result};
use formats::template::{Groups, Values};
use formats::{Refused, unwritable};
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::body::{Body, Means};
use crate::commit::{self, Committable, Published, StagedObject};
use crate::config::Config;
use crate::crowd::{Crowd, OBJECTS_OPEN_MAX};
use crate::encode::{Form, Rows};
use crate::fill::Fill;
use crate::key::{Identity, KeyTemplate};
use crate::place::{PART_BYTES, Place};
use crate::sizes;
use crate::spill::Spill;
use crate::unsettled::Unsettled;
use crate::way::{Way, by_number};

/// The objects of one epoch that stand in its checkpoint have at most this size together.
const INLINE_BYTES_PER_EPOCH: u64 = 1 << 20;
/// Open objects that are closed at once.
const CLOSED_AT_ONCE: usize = 8;
/// While so many objects are open, rows wait in each of them to be encoded with those that follow.
const OBJECTS_WAITING_MAX: usize = 16;
/// Once so many uploads could not be dropped, the others are left as well: the store is away.
const ABANDON_FAILURES_MAX: usize = 8;
/// Parts on their way at once, at most; fewer where memory is short.
const PARTS_AT_ONCE_MAX: usize = 8;

/// Writes the epochs of lineages as objects.
pub struct ObjectWriter {
    config: Arc<Config>,
    key: Arc<KeyTemplate>,
    form: Form,
    /// The columns that are written: all, or all but the origin.
    written: Vec<usize>,
    means: Means,
    memory_bytes: usize,
    /// Parts that may be on their way at once.
    parts_max: usize,
    open: HashMap<Address, OpenObject>,
    /// How many of them the rows of each way hold open.
    crowds: HashMap<Way, Crowd>,
    /// Bytes that open objects hold in memory.
    held_bytes: usize,
    staged: HashMap<Lineage, Staged>,
    published: HashMap<Lineage, u64>,
    unsettled: Arc<Unsettled>,
}

/// Where a writer puts objects, and what is known of earlier ones.
pub struct Target {
    /// The store.
    pub place: Place,
    /// Where bytes wait while memory is short.
    pub spill: Spill,
    /// What earlier writers staged.
    pub unsettled: Arc<Unsettled>,
}

/// What rows of one object have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Address {
    way: Way,
    values: Values,
}

struct OpenObject {
    encoder: Rows,
    body: Body,
    fill: Fill,
}

/// What a lineage has staged since its last epoch.
#[derive(Default)]
struct Staged {
    rows: u64,
    room: Room,
    rejects: Rejects,
    inline_bytes: u64,
    /// The names of all objects, also of those that are open.
    names: HashSet<String>,
    objects: Vec<StagedObject>,
}

impl Staged {
    /// Whether there is room for more objects and for more refused rows.
    fn room(&self) -> Room {
        if self.room == Room::Full { Room::Full } else { self.rejects.room() }
    }
}

impl ObjectWriter {
    /// Makes a writer.
    ///
    /// # Errors
    /// Bug: the columns were counted wrong.
    pub fn new(
        config: Arc<Config>,
        key: Arc<KeyTemplate>,
        target: Target,
        ctx: &WriterContext,
    ) -> Result<Self> {
        let Target { place, spill, unsettled } = target;
        let written = crate::sink::written(&config, &ctx.schema);
        let schema = Arc::new(ctx.schema.project(&written).bug("the columns were counted wrong")?);
        let memory_bytes = ctx.memory_bytes;
        let parts_max = (ctx.client_bytes / PART_BYTES).clamp(1, PARTS_AT_ONCE_MAX);
        let means = Means {
            place: Arc::new(place),
            spill: Arc::new(spill),
            parts: Arc::new(Semaphore::new(parts_max)),
        };
        Ok(Self {
            form: Form::new(&config, schema, memory_bytes, ctx.threads),
            config,
            key,
            written,
            means,
            memory_bytes,
            parts_max,
            open: HashMap::new(),
            crowds: HashMap::new(),
            held_bytes: 0,
            staged: HashMap::new(),
            published: HashMap::new(),
            unsettled,
        })
    }

    /// Leaves out rows that the format cannot hold; they are rejects.
    fn writable(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<RecordBatch> {
        let Some(format) = self.config.format.lines() else { return Ok(records) };
        let refused = unwritable::rows(format, &records)?;
        if refused.is_empty() {
            return Ok(records);
        }
        let mut keep = vec![true; records.num_rows()];
        for row in &refused {
            keep[row.row] = false;
        }
        self.reject(lineage, &records, refused)?;
        filter_record_batch(&records, &BooleanArray::from(keep)).bug("could not leave out rows")
    }

    fn reject(
        &mut self,
        lineage: &Lineage,
        records: &RecordBatch,
        refused: impl IntoIterator<Item = Refused>,
    ) -> Result<()> {
        let origins = Origins::of(records)?;
        let rejects =
            refused.into_iter().map(|Refused { row, reason }| origins.refuse(row, reason));
        self.staged.entry(lineage.clone()).or_default().rejects.extend(rejects);
        Ok(())
    }

    /// Drops what an attempt at this epoch left that was never decided.
    async fn start(&mut self, lineage: &Lineage, epoch: i64) {
        if self.staged.contains_key(lineage) {
            return;
        }
        self.staged.insert(lineage.clone(), Staged::default());
        for object in self.unsettled.begins(lineage, epoch.cast_unsigned()) {
            if let Err(error) = commit::abandon(&self.means.place, &object).await {
                debug!(key = object.key, error = error.chain(), "an upload was left behind");
            }
        }
    }

    /// Writes rows of one way.
    async fn write_way(&mut self, way: &Way, mut rest: RecordBatch) -> Result<()> {
        let mut groups = self.key.divide(&rest)?;
        while let Some(row) = self.overflow(way, &rest, &groups)? {
            let before = rest.slice(0, row);
            self.write_groups(way, &before, self.key.divide(&before)?).await?;
            let open = self.take_open(|address| address.way == *way);
            self.stage_open(&way.lineage, open).await?;
            rest = rest.slice(row, rest.num_rows() - row);
            groups = self.key.divide(&rest)?;
        }
        self.write_groups(way, &rest, groups).await
    }

    /// Writes rows of one way, object by object.
    async fn write_groups(&mut self, way: &Way, rows: &RecordBatch, groups: Groups) -> Result<()> {
        for (values, part) in parts(rows, groups)? {
            let address = Address { way: way.clone(), values };
            self.write_part(&address, &part).await?;
        }
        self.crowds.entry(way.clone()).or_default().passed(positions(rows)?.values());
        let staged = self.staged.entry(way.lineage.clone()).or_default();
        staged.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// The first row with which a way would hold too many objects open.
    fn overflow(&self, way: &Way, rows: &RecordBatch, groups: &Groups) -> Result<Option<usize>> {
        let crowd = self.crowds.get(way).copied().unwrap_or_default();
        if crowd.takes(groups.values.len()) {
            return Ok(None);
        }
        let is_new = groups.values.iter().map(|values| {
            !self.open.contains_key(&Address { way: way.clone(), values: values.clone() })
        });
        let is_new: Vec<bool> = is_new.collect();
        Ok(crowd.overflow(positions(rows)?.values(), &groups.of_row, is_new))
    }

    async fn stage_open(&mut self, lineage: &Lineage, open: Vec<OpenObject>) -> Result<()> {
        let (failed, mut jobs) = (Failed::default(), Vec::new());
        for object in open {
            let failed = failed.clone();
            jobs.push(async move {
                match failed.is_set() {
                    true => object.body.abandon().await,
                    false => return Some(failed.note(object.finish().await)),
                }
                None
            });
        }
        let ended = stream::iter(jobs).buffered(CLOSED_AT_ONCE);
        let (bodies, failure) = sorted(ended.collect().await);
        match failure {
            None => self.stage(lineage, bodies).await,
            Some(error) => {
                for body in bodies {
                    body.abandon().await;
                }
                Err(error)
            }
        }
    }

    /// Writes rows with equal values, closing objects as they become full.
    async fn write_part(&mut self, address: &Address, part: &RecordBatch) -> Result<()> {
        let mut fill = self.open.get(address).map_or_else(Fill::default, |object| object.fill);
        let cuts = fill.count(&self.config, positions(part)?.values(), &sizes::of_rows(part));
        let mut from = 0;
        for cut in cuts {
            self.append(address, part, from..cut).await?;
            self.close(address).await?;
            from = cut;
        }
        self.append(address, part, from..part.num_rows()).await?;
        if let Some(object) = self.open.get_mut(address) {
            object.fill = fill;
        }
        Ok(())
    }

    fn begin(&mut self, address: &Address, part: &RecordBatch, row: usize) -> Result<()> {
        let epochs = part.column_by_name(EPOCH).and_then(|it| it.as_primitive_opt::<Int64Type>());
        let epochs = epochs.ok_or_else(|| Error::bug("rows do not say their epoch"))?;
        let Way { lineage, split, ordinal } = &address.way;
        let identity = Identity {
            split,
            position: positions(part)?.value(row),
            epoch: epochs.value(row),
            lineage,
            ordinal: *ordinal,
            unix: self.key.unix(part, row)?,
        };
        let name = self.key.name(&address.values, &identity);
        let staged = self.staged.entry(lineage.clone()).or_default();
        if !staged.names.insert(name.clone()) {
            let epoch = identity.epoch;
            return Err(Error::bug(format!("epoch {epoch} has two objects of the name {name:?}")));
        }
        let object = OpenObject {
            encoder: self.form.begin()?,
            body: Body::new(self.means.clone(), name)?,
            fill: Fill::default(),
        };
        self.held_bytes += object.memory_bytes();
        self.open.insert(address.clone(), object);
        self.crowds.entry(address.way.clone()).or_default().open += 1;
        if self.open.len() >= OBJECTS_OPEN_MAX {
            staged.room = Room::Full;
        }
        Ok(())
    }

    /// Encodes rows that belong to one object, beginning it if there is none.
    async fn append(
        &mut self,
        address: &Address,
        part: &RecordBatch,
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.open.contains_key(address) {
            self.begin(address, part, rows.start)?;
        }
        let rows = part.slice(rows.start, rows.len());
        let rows = rows.project(&self.written).bug("the columns were counted wrong")?;
        let at_once = self.open.len() > OBJECTS_WAITING_MAX;
        let object = self.open.get_mut(address).expect("it was begun above");
        self.held_bytes -= object.memory_bytes();
        object.encoder.write(rows, at_once).await?;
        let done = object.encoder.take();
        object.body.push(&done).await?;
        self.held_bytes += object.memory_bytes();
        self.keep_budget().await
    }

    async fn close(&mut self, address: &Address) -> Result<()> {
        let Some(object) = self.open.remove(address) else { return Ok(()) };
        self.held_bytes -= object.memory_bytes();
        self.crowds.entry(address.way.clone()).or_default().open -= 1;
        self.stage_open(&address.way.lineage, vec![object]).await
    }

    /// Stages bodies that are whole: small ones in the checkpoint, as long as there is room. What
    /// was staged before one failed is dropped with the epoch.
    async fn stage(&mut self, lineage: &Lineage, bodies: Vec<Body>) -> Result<()> {
        let staged = self.staged.entry(lineage.clone()).or_default();
        let (failed, mut jobs) = (Failed::default(), Vec::new());
        for body in bodies {
            let failed = failed.clone();
            let inline = staged.inline_bytes + body.bytes();
            let is_inline = body.fits_checkpoint() && inline <= INLINE_BYTES_PER_EPOCH;
            if is_inline {
                staged.inline_bytes = inline;
            }
            jobs.push(async move {
                match (failed.is_set(), is_inline) {
                    (true, _) => body.abandon().await,
                    (false, true) => return Some(failed.note(body.into_inline().await)),
                    (false, false) => return Some(failed.note(body.into_upload().await)),
                }
                None
            });
        }
        let objects = stream::iter(jobs).buffered(CLOSED_AT_ONCE);
        let (mut objects, failure) = sorted(objects.collect().await);
        staged.objects.append(&mut objects);
        failure.map_or(Ok(()), Err)
    }

    /// Moves bytes to the spill file, beginning with the largest object, until they fit.
    async fn keep_budget(&mut self) -> Result<()> {
        while self.held_bytes > self.memory_bytes {
            let largest = self.open.values_mut().max_by_key(|object| object.memory_bytes());
            let Some(object) = largest else { return Ok(()) };
            let before = object.memory_bytes();
            object.shrink().await?;
            let after = object.memory_bytes();
            self.held_bytes = self.held_bytes - before + after;
            if after >= before {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_open(&mut self, wanted: impl Fn(&Address) -> bool) -> Vec<OpenObject> {
        let open = self.open.extract_if(|address, _| wanted(address));
        let mut open: Vec<_> = open.collect();
        for (address, _) in &open {
            self.crowds.entry(address.way.clone()).or_default().open -= 1;
        }
        self.held_bytes = self.open.values().map(OpenObject::memory_bytes).sum();
        // The checkpoint lists objects in the same order whenever rows are the same.
        open.sort_by(|(one, _), (other, _)| {
            (&one.way, &one.values).cmp(&(&other.way, &other.values))
        });
        open.into_iter().map(|(_, object)| object).collect()
    }

    async fn commit_one(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        if self.published.get(&commit.lineage) == Some(&commit.epoch) {
            return Ok(CommitOutcome::Committed);
        }
        self.unsettled.decided(&commit.lineage);
        let Some(committable) = &commit.committable else {
            return Ok(CommitOutcome::NeedsReplay);
        };
        let committable: Committable = serde_json::from_value(committable.clone())
            .bug("a checkpoint holds a committable that this version cannot read")?;
        let objects: Vec<_> = committable.objects.iter().map(Published::of).collect();
        let outcome = commit::publish(&self.means.place, committable).await?;
        if outcome == CommitOutcome::Committed {
            self.remove_others(commit, &objects).await?;
            self.unsettled.published(&commit.lineage);
            self.published.insert(commit.lineage.clone(), commit.epoch);
        } else {
            self.unsettled.lost(&commit.lineage, commit.epoch, objects);
        }
        Ok(outcome)
    }

    /// Removes what an epoch that was sent again had published under other names: it cut its rows
    /// by other settings, or an earlier version did.
    async fn remove_others(&mut self, commit: &Commit, objects: &[Published]) -> Result<()> {
        let names: HashSet<_> = objects.iter().map(|object| &object.key).collect();
        let before = self.unsettled.before(&commit.lineage, commit.epoch);
        for object in before.iter().filter(|object| !names.contains(&object.key)) {
            commit::remove(&self.means.place, object).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Writer for ObjectWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        if records.num_rows() == 0 {
            return Ok(Room::Left);
        }
        let origins = Origins::of(&records)?;
        let (split, epoch) = (origins.split(0).to_owned(), origins.epoch(0));
        self.start(lineage, epoch).await;
        let records = self.writable(lineage, records)?;
        for (ordinal, rows) in by_number(records)? {
            let (lineage, split) = (lineage.clone(), split.clone());
            self.write_way(&Way { lineage, split, ordinal }, rows).await?;
        }
        Ok(self.staged.get(lineage).map_or(Room::Left, Staged::room))
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        reach("object_store.prepare.before").await?;
        let open = self.take_open(|address| address.way.lineage == *lineage);
        self.stage_open(lineage, open).await?;
        self.crowds.retain(|way, _| way.lineage != *lineage);
        let is_empty = self.staged.get(lineage).is_none_or(|staged| staged.objects.is_empty());
        let identity = if is_empty { None } else { self.means.place.identity().await? };
        reach("object_store.prepare.after").await?;
        // From here on nothing fails, so that whatever did is still dropped with the epoch.
        let staged = self.staged.remove(lineage).unwrap_or_default();
        let Staged { rows, mut rejects, objects, .. } = staged;
        let rejects = rejects.take();
        if is_empty {
            return Ok(Prepared { rows, rejects, ..Prepared::default() });
        }
        self.unsettled.prepared(lineage, epoch, &objects);
        let committable =
            serde_json::to_value(Committable { objects }).bug("could not write a committable")?;
        let identity = identity.map(|(place, id)| sink::Identity { place, id, rows });
        let identities = identity.into_iter().collect();
        Ok(Prepared { rows, rejects, committable: Some(committable), identities })
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        reach("object_store.commit.before").await?;
        let outcome = self.commit_one(commit).await?;
        reach("object_store.commit.after").await?;
        Ok(outcome)
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        for object in self.take_open(|address| address.way.lineage == *lineage) {
            object.body.abandon().await;
        }
        self.crowds.retain(|way, _| way.lineage != *lineage);
        // What was prepared may have been decided: only uploads that no epoch names are dropped.
        let staged = self.staged.remove(lineage).unwrap_or_default();
        let mut failures = Vec::new();
        for object in staged.objects {
            failures.extend(commit::abandon(&self.means.place, &object).await.err());
            if failures.len() >= ABANDON_FAILURES_MAX {
                break;
            }
        }
        failures.pop().map_or(Ok(()), Err)
    }

    fn footprint(&self) -> Footprint {
        let refused = self.staged.values().map(|staged| staged.rejects.bytes()).sum::<usize>();
        let on_their_way = self.parts_max - self.means.parts.available_permits();
        let clients = on_their_way * PART_BYTES;
        Footprint { own: self.held_bytes + refused, clients, refused }
    }
}

impl OpenObject {
    fn memory_bytes(&self) -> usize {
        self.encoder.memory_bytes() + self.body.memory_bytes()
    }

    async fn shrink(&mut self) -> Result<()> {
        self.encoder.shrink().await?;
        let done = self.encoder.take();
        self.body.push(&done).await?;
        self.body.spill().await
    }

    async fn finish(self) -> Result<Body> {
        let Self { encoder, mut body, .. } = self;
        let ended = match encoder.finish().await {
            Ok(done) => body.push(&done).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => Ok(body),
            Err(error) => {
                body.abandon().await;
                Err(error)
            }
        }
    }
}

/// Whether one of several jobs failed, so that no other is begun: a store that does not answer lets
/// each of them wait.
#[derive(Clone, Default)]
struct Failed(Arc<AtomicBool>);

impl Failed {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn note<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| self.0.store(true, Ordering::Relaxed))
    }
}

/// What came out of jobs, and the first failure.
fn sorted<T>(results: Vec<Option<Result<T>>>) -> (Vec<T>, Option<Error>) {
    let (mut done, mut failure) = (Vec::new(), None);
    for result in results.into_iter().flatten() {
        match result {
            Ok(one) => done.push(one),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    (done, failure)
}

/// The rows of each group, in their order.
fn parts(batch: &RecordBatch, groups: Groups) -> Result<Vec<(Values, RecordBatch)>> {
    if groups.values.len() == 1 {
        return Ok(groups.values.into_iter().map(|values| (values, batch.clone())).collect());
    }
    let mut rows: Vec<Vec<u64>> = vec![Vec::new(); groups.values.len()];
    for (row, group) in groups.of_row.iter().enumerate() {
        rows[*group as usize].push(row as u64);
    }
    let parts = groups.values.into_iter().zip(rows).map(|(values, rows)| {
        let part = take_record_batch(batch, &UInt64Array::from(rows)).bug("could not pick rows")?;
        Ok((values, part))
    });
    parts.collect()
}
