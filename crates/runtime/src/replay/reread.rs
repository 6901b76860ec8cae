//! Refused records that their source reads again, because lines alone do not make them.
//!
//! Columns such as the key and the headers of a Kafka message stand beside the line that a dead
//! letter keeps. What the source cannot give any more is refused again with the reason: a replay
//! always comes to its end, and the record stays where people can see it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::record::positions;
use contract::source::{
    Discovery, KnownSplit, ReadBatch, Reject, Source, Split, SplitReader, Until,
};
use contract::{Error, Position, Result, SplitId};

use super::Letter;
use super::letters::{by_split, range};

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

    async fn splits(&self, _known: Option<&[KnownSplit]>) -> Result<Discovery> {
        let splits = self.splits.values().map(|(split, _)| split.clone());
        Ok(Discovery { splits: splits.collect(), ..Discovery::default() })
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
        }))
    }
}

struct LetterReader {
    source: Arc<dyn Source>,
    split: Split,
    letters: Arc<[Letter]>,
    next: usize,
    end: usize,
    /// Opened at the first letter, up to the record after the last one.
    reader: Option<Box<dyn SplitReader>>,
}

impl LetterReader {
    /// The next batch of the source, from a position on; none at its end.
    async fn read(&mut self, from: i64, to: i64) -> Result<Option<ReadBatch>> {
        if self.reader.is_none() {
            let until = Until::Position(Position::new(to));
            let from = Position::new(from);
            self.reader = Some(self.source.open(&self.split, Some(&from), until).await?);
        }
        match &mut self.reader {
            Some(reader) => reader.next_batch().await,
            None => Ok(None),
        }
    }

    /// Of a batch of the source, the records of the letters in its range. A letter whose record is
    /// not in it is refused again.
    fn choose(&mut self, batch: &ReadBatch) -> Result<Option<ReadBatch>> {
        let begin = self.next;
        let letters = &self.letters[begin..self.end];
        let count = letters.partition_point(|one| one.reject.position < batch.next.at);
        self.next += count;
        let letters = &letters[..count];
        let Some(last) = letters.last() else { return Ok(None) };
        let at = |position: &i64| letters.binary_search_by_key(position, |one| one.reject.position);
        let rows = positions(&batch.records)?.values();
        let mut found = vec![false; count];
        rows.iter().filter_map(|row| at(row).ok()).for_each(|letter| found[letter] = true);
        let keep: BooleanArray = rows.iter().map(|row| Some(at(row).is_ok())).collect();
        let records = filter_record_batch(&batch.records, &keep)
            .map_err(|error| Error::bug("could not choose records").because(error))?;
        let missing = letters.iter().zip(found).filter(|(_, found)| !found);
        let rejects = missing.map(|(letter, _)| refused_again(letter, "is not there any more"));
        Ok(Some(ReadBatch {
            bytes: records.get_array_memory_size() as u64,
            next: Position::new(last.reject.position + 1),
            records,
            rejects: rejects.collect(),
            lost: 0,
            skipped: 0,
        }))
    }

    /// What is left cannot be read.
    fn refuse_rest(&mut self, why: &str) -> Option<ReadBatch> {
        let letters = &self.letters[self.next..self.end];
        self.next = self.end;
        let last = letters.last()?;
        Some(ReadBatch {
            records: RecordBatch::new_empty(self.source.schema()),
            next: Position::new(last.reject.position + 1),
            rejects: letters.iter().map(|letter| refused_again(letter, why)).collect(),
            lost: 0,
            bytes: 0,
            skipped: 0,
        })
    }
}

fn refused_again(letter: &Letter, why: &str) -> Reject {
    let reason = format!("{} (its record {why})", letter.reject.reason);
    Reject { reason, ..letter.reject.clone() }
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
                    if let Some(chosen) = self.choose(&batch)? {
                        return Ok(Some(chosen));
                    }
                }
                Ok(None) => return Ok(self.refuse_rest("is not there any more")),
                Err(error) if error.retry() => return Err(error),
                Err(error) => {
                    let why = format!("cannot be read again: {}", error.chain());
                    return Ok(self.refuse_rest(&why));
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
    use contract::source::OriginalKind;

    use super::*;

    /// Even positions below a hundred, three in a batch; odd ones are gone.
    struct Even;

    #[async_trait]
    impl Source for Even {
        fn schema(&self) -> SchemaRef {
            let position = contract::record::position_field();
            Arc::new(arrow::datatypes::Schema::new(vec![position]))
        }

        async fn splits(&self, _known: Option<&[KnownSplit]>) -> Result<Discovery> {
            Ok(Discovery::default())
        }

        async fn open(
            &self,
            _split: &Split,
            from: Option<&Position>,
            until: Until,
        ) -> Result<Box<dyn SplitReader>> {
            let Until::Position(until) = until else { return Err(Error::bug("has an end")) };
            if until.at > 100 {
                return Err(Error::external("there is no such position"));
            }
            let (next, end) = (from.map_or(0, |from| from.at), until.at);
            Ok(Box::new(EvenReader { next, end, schema: self.schema() }))
        }
    }

    struct EvenReader {
        next: i64,
        end: i64,
        schema: SchemaRef,
    }

    #[async_trait]
    impl SplitReader for EvenReader {
        async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
            let to = self.end.min(self.next + 6);
            let rows = (self.next..to).filter(|at| at % 2 == 0);
            let rows: arrow::array::Int64Array = rows.collect();
            let more = self.next < to;
            self.next = to;
            let records = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(rows)]);
            Ok(more.then(|| ReadBatch {
                records: records.expect("one column"),
                next: Position::new(to),
                rejects: Vec::new(),
                lost: 0,
                bytes: 0,
                skipped: 0,
            }))
        }

        async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
            Ok(())
        }
    }

    fn letter(position: i64) -> Letter {
        let reject = Reject {
            position,
            ordinal: 0,
            reason: "broken".into(),
            kind: OriginalKind::Bytes,
            original: Some(b"line"[..].into()),
        };
        Letter { source: "orders".into(), split: SplitId::new("orders/0"), reject }
    }

    async fn check(letters: &[i64], found: &[i64], refused: &[i64]) {
        let letters: Vec<_> = letters.iter().copied().map(letter).collect();
        let source = Reread::new(Arc::new(Even), letters.iter(), &[]);
        let splits = source.splits(None).await.expect("listed").splits;
        let mut reader = source.open(&splits[0], None, Until::End).await.expect("opened");
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        while let Some(batch) = reader.next_batch().await.expect("read") {
            rows.extend_from_slice(positions(&batch.records).expect("there").values());
            rejects.extend(batch.rejects.iter().map(|reject| reject.position));
        }
        assert_eq!((rows.as_slice(), rejects.as_slice()), (found, refused));
    }

    #[tokio::test]
    async fn records_are_read_again_and_what_is_gone_is_refused_again() {
        check(&[4, 6, 40, 98], &[4, 6, 40, 98], &[]).await;
        check(&[4, 5, 6, 51], &[4, 6], &[5, 51]).await;
        check(&[7], &[], &[7]).await;
        check(&[4, 100], &[], &[4, 100]).await;
    }
}
