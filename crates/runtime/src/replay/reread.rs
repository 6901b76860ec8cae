//! Refused records that their source reads again, because lines alone do not make them.
//!
//! Columns such as the key and the headers of a Kafka message stand beside the line that a dead
//! letter keeps. What the source does not have any more is made of that line; what cannot be made
//! either is named and left out: a replay always comes to its end, and the letter stays open.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Listing};
use contract::error::Context;
use contract::record::{POSITION, positions};
use contract::source::{
    Again, KnownSplit, OriginalKind, ReadBatch, Source, Split, SplitReader, Until,
};
use contract::{Error, Position, Result, SplitId};
use tracing::warn;

use super::Letter;
use super::letters::{by_split, range};

const UNCHOSEN: &str = "could not choose records";

/// The letters that one source of the pipeline read, by split, and that source.
pub struct Reread {
    source: Arc<dyn Source>,
    splits: BTreeMap<SplitId, (Split, Arc<[Letter]>)>,
}

impl Reread {
    /// Reads letters again. `splits` are those that the source knew them by.
    pub fn new<'a>(
        source: Arc<dyn Source>,
        letters: impl Iterator<Item = &'a Letter>,
        splits: &[Split],
    ) -> Self {
        let with_split = |(id, letters): (SplitId, Arc<[Letter]>)| {
            let known = splits.iter().find(|split| split.id == id).cloned();
            let new = || Split { id: id.clone(), descriptor: serde_json::Value::Null };
            (id.clone(), (known.unwrap_or_else(new), letters))
        };
        let splits = by_split(letters).into_iter().map(with_split).collect();
        Self { source, splits }
    }
}

#[async_trait]
impl Source for Reread {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn again(&self) -> Again {
        // Letters are left out whose records are gone and not kept.
        Again::Sparse
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let splits = self.splits.values().map(|(split, _)| split.clone());
        Box::new(ByListing::new(Listing::of(splits), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let (split, letters) = self.splits.get(&split.id).ok_or_else(|| {
            Error::bug(format!("a replay has no dead letters of split \"{}\"", split.id))
        })?;
        let Range { start: next, end } = range(letters, from, &until);
        Ok(Box::new(LetterReader {
            source: self.source.clone(),
            split: split.clone(),
            letters: letters.clone(),
            next,
            end,
            reader: None,
            passes_gaps: false,
        }))
    }
}

struct LetterReader {
    source: Arc<dyn Source>,
    split: Split,
    letters: Arc<[Letter]>,
    next: usize,
    end: usize,
    /// Opened at the first letter.
    reader: Option<Box<dyn SplitReader>>,
    /// Whether the source did not have all records up to the last letter, and is read as for the
    /// first time, which passes over what is gone.
    passes_gaps: bool,
}

impl LetterReader {
    /// The next batch of the source, from a position on; none at its end.
    async fn read(&mut self, from: i64, to: i64) -> Result<Option<ReadBatch>> {
        if self.reader.is_none() {
            let until = match self.passes_gaps {
                true => Until::End,
                false => Until::Position(Position::new(to)),
            };
            let from = Position::new(from);
            self.reader = Some(self.source.open(&self.split, Some(&from), until).await?);
        }
        match &mut self.reader {
            Some(reader) => reader.next_batch().await,
            None => Ok(None),
        }
    }

    /// A reader that gives nothing and may make records again; none if the source has none.
    async fn open_none(&mut self, at: i64) -> Option<Box<dyn SplitReader>> {
        let at = Position::new(at);
        self.source.open(&self.split, Some(&at), Until::Position(at.clone())).await.ok()
    }

    /// The records of the letters before a position, of those that the source gave and, where it
    /// did not, of what the letters keep; none if no letter stands there.
    fn choose(&mut self, given: &RecordBatch, before: i64) -> Result<Option<ReadBatch>> {
        let all = self.letters.clone();
        let letters = &all[self.next..self.end];
        let letters = &letters[..letters.partition_point(|one| one.reject.position < before)];
        let Some(last) = letters.last() else { return Ok(None) };
        self.next += letters.len();
        let rows = positions(given)?.values();
        let at = |position: &i64| letters.binary_search_by_key(position, |one| one.reject.position);
        let keep: BooleanArray = rows.iter().map(|row| Some(at(row).is_ok())).collect();
        let mut chosen = vec![filter_record_batch(given, &keep).bug(UNCHOSEN)?];
        let mut left = Vec::new();
        let is_gone = |letter: &&Letter| rows.binary_search(&letter.reject.position).is_err();
        for letter in letters.iter().filter(is_gone) {
            match self.remake(letter)? {
                Some(record) => chosen.push(record),
                None => left.push(letter.reject.position),
            }
        }
        self.tell(chosen.len() - 1, &left);
        let records = in_order(&self.source.schema(), &chosen)?;
        let bytes = records.get_array_memory_size() as u64;
        let next = Position::new(last.reject.position + 1);
        Ok(Some(ReadBatch { bytes, ..ReadBatch::new(records, next) }))
    }

    fn remake(&self, letter: &Letter) -> Result<Option<RecordBatch>> {
        let reject = &letter.reject;
        match (&self.reader, &reject.original, reject.kind) {
            (Some(reader), Some(original), OriginalKind::Bytes) => {
                reader.remake(reject.position, original)
            }
            _ => Ok(None),
        }
    }

    /// Names what did not come from the source.
    fn tell(&self, made: usize, left: &[i64]) {
        let split = self.split.id.as_str();
        if made > 0 {
            warn!(
                split,
                records = made,
                "gone from the source; given as the dead letters keep them"
            );
        }
        if let Some(first) = left.first() {
            let origin = format!("{split}@{first}");
            let dead_letters = left.len();
            warn!(origin, dead_letters, "records are gone and not kept; their letters stay open");
        }
    }

    /// The letters that the source gives nothing for any more.
    fn choose_rest(&mut self) -> Result<Option<ReadBatch>> {
        let none = RecordBatch::new_empty(self.source.schema());
        self.choose(&none, i64::MAX)
    }
}

/// Batches as one, its rows in order of position.
fn in_order(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let [one] = batches else {
        let all = concat_batches(schema, batches).bug(UNCHOSEN)?;
        let order =
            sort_to_indices(all.column(all.schema().index_of(POSITION).bug(UNCHOSEN)?), None, None);
        return take_record_batch(&all, &order.bug(UNCHOSEN)?).bug(UNCHOSEN);
    };
    Ok(one.clone())
}

#[async_trait]
impl SplitReader for LetterReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        loop {
            let wanted = &self.letters[self.next.min(self.end)..self.end];
            let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
                return Ok(None);
            };
            let (from, to) = (first.reject.position, last.reject.position + 1);
            match self.read(from, to).await {
                Ok(Some(batch)) => {
                    if let Some(chosen) = self.choose(&batch.records, batch.next.at)? {
                        return Ok(Some(chosen));
                    }
                }
                Ok(None) => return self.choose_rest(),
                Err(error) if error.retry() => return Err(error),
                Err(error) if self.passes_gaps => {
                    let split = self.split.id.as_str();
                    warn!(split, error = error.chain(), "could not read records again");
                    self.reader = self.open_none(to).await;
                    return self.choose_rest();
                }
                Err(_) => {
                    self.reader = None;
                    self.passes_gaps = true;
                }
            }
        }
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::discovery::list;
    use contract::source::Reject;

    use super::*;

    /// Where a split begins that was deleted.
    const NEVER: i64 = i64::MAX;

    /// Even positions below a hundred, three in a batch; odd ones are gone, and those before the
    /// beginning.
    struct Even {
        begins: i64,
        remakes: bool,
    }

    #[async_trait]
    impl Source for Even {
        fn schema(&self) -> SchemaRef {
            let position = contract::record::position_field();
            Arc::new(arrow::datatypes::Schema::new(vec![position]))
        }

        fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
            Box::new(ByListing::new(Listing::default(), known))
        }

        async fn open(
            &self,
            _split: &Split,
            from: Option<&Position>,
            until: Until,
        ) -> Result<Box<dyn SplitReader>> {
            let from = from.map_or(0, |from| from.at);
            let (next, end) = match until {
                Until::Position(until) if from == until.at => (from, from),
                _ if self.begins == NEVER => return Err(Error::external("it is deleted")),
                Until::Position(_) if from < self.begins => {
                    return Err(Error::external("records are gone"));
                }
                Until::Position(until) if until.at > 100 => {
                    return Err(Error::external("there is no such position"));
                }
                Until::Position(to) | Until::Proven { to, .. } => (from, to.at),
                Until::End | Until::Forever => (from.max(self.begins), 100),
            };
            let (schema, remakes) = (self.schema(), self.remakes);
            Ok(Box::new(EvenReader { next, end, schema, remakes }))
        }
    }

    struct EvenReader {
        next: i64,
        end: i64,
        schema: SchemaRef,
        remakes: bool,
    }

    #[async_trait]
    impl SplitReader for EvenReader {
        fn remake(&self, position: i64, _original: &[u8]) -> Result<Option<RecordBatch>> {
            let position = Arc::new(arrow::array::Int64Array::from(vec![position]));
            let made = RecordBatch::try_new(self.schema.clone(), vec![position]);
            Ok(self.remakes.then(|| made.expect("one column")))
        }

        async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
            let to = self.end.min(self.next + 6);
            let rows = (self.next..to).filter(|at| at % 2 == 0);
            let rows: arrow::array::Int64Array = rows.collect();
            let more = self.next < to;
            self.next = to;
            let records = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(rows)]);
            let records = records.expect("one column");
            Ok(more.then(|| ReadBatch::new(records, Position::new(to))))
        }

        async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
            Ok(())
        }
    }

    fn letter(position: i64) -> Letter {
        let reject = Reject::new(position, "broken").with_original(b"line"[..].into());
        Letter { source: "orders".into(), split: SplitId::new("orders/0"), reject }
    }

    async fn check(source: Even, letters: &[i64], found: &[i64]) {
        let letters: Vec<_> = letters.iter().copied().map(letter).collect();
        let source = Reread::new(Arc::new(source), letters.iter(), &[]);
        let splits = list(&source, None).await.expect("listed").splits;
        let mut reader = source.open(&splits[0], None, Until::End).await.expect("opened");
        let mut rows = Vec::new();
        while let Some(batch) = reader.next_batch().await.expect("read") {
            rows.extend_from_slice(positions(&batch.records).expect("there").values());
            assert!(batch.rejects.is_empty(), "a letter is not doubled");
        }
        assert_eq!(rows, found);
    }

    #[tokio::test]
    async fn records_are_read_again_and_letters_of_what_is_gone_are_left() {
        let even = |begins| Even { begins, remakes: false };
        check(even(0), &[4, 6, 40, 98], &[4, 6, 40, 98]).await;
        check(even(0), &[4, 5, 6, 51], &[4, 6]).await;
        check(even(0), &[7], &[]).await;
        check(even(0), &[4, 100], &[4]).await;
        check(even(10), &[4, 6, 40, 98], &[40, 98]).await;
        check(even(100), &[4, 6], &[]).await;
    }

    #[tokio::test]
    async fn what_the_letters_keep_stands_for_what_is_gone() {
        let even = |begins| Even { begins, remakes: true };
        check(even(10), &[4, 5, 40, 41, 98], &[4, 5, 40, 41, 98]).await;
        check(even(100), &[4, 6], &[4, 6]).await;
        check(even(0), &[4, 100], &[4, 100]).await;
        check(even(NEVER), &[4, 5, 98], &[4, 5, 98]).await;
    }
}
