//! Refused records as a source: the splits and positions are those that they were read at.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Listing};
use contract::record::message_schema;
use contract::source::{KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::{Error, Position, Result, SplitId};

use super::Letter;

/// Records of one batch.
const BATCH_ROWS: usize = 1 << 12;

/// The letters that one source of the pipeline read, by split.
pub struct Letters {
    splits: BTreeMap<SplitId, Arc<[Letter]>>,
}

impl Letters {
    /// A source in place of one of lines. Letters of a split come in order of position.
    pub fn new<'a>(letters: impl Iterator<Item = &'a Letter>) -> Self {
        Self { splits: by_split(letters) }
    }
}

/// Letters by their split, in the order in which they come.
pub fn by_split<'a>(letters: impl Iterator<Item = &'a Letter>) -> BTreeMap<SplitId, Arc<[Letter]>> {
    let mut splits: BTreeMap<SplitId, Vec<Letter>> = BTreeMap::new();
    for letter in letters {
        splits.entry(letter.split.clone()).or_default().push(letter.clone());
    }
    splits.into_iter().map(|(split, letters)| (split, letters.into())).collect()
}

/// The numbers of the letters from a position on, up to where a reader stops.
pub fn range(letters: &[Letter], from: Option<&Position>, until: &Until) -> Range<usize> {
    let before = |position: i64| letters.partition_point(|one| one.reject.position < position);
    let end = match until {
        Until::Position(to) | Until::Proven { to, .. } => before(to.at),
        Until::End | Until::Forever => letters.len(),
    };
    from.map_or(0, |from| before(from.at))..end
}

#[async_trait]
impl Source for Letters {
    fn schema(&self) -> SchemaRef {
        message_schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let splits = self.splits.keys();
        let splits = splits.map(|id| Split { id: id.clone(), descriptor: serde_json::Value::Null });
        Box::new(ByListing::new(Listing::of(splits), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let letters = self.splits.get(&split.id).ok_or_else(|| {
            Error::bug(format!("a replay has no dead letters of split \"{}\"", split.id))
        })?;
        let Range { start: next, end } = range(letters, from, &until);
        Ok(Box::new(LetterReader { letters: letters.clone(), next, end }))
    }
}

struct LetterReader {
    letters: Arc<[Letter]>,
    next: usize,
    end: usize,
}

#[async_trait]
impl SplitReader for LetterReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        let to = self.end.min(self.next + BATCH_ROWS);
        let Some(letters) = self.letters.get(self.next..to) else { return Ok(None) };
        let Some(last) = letters.last() else { return Ok(None) };
        self.next = to;
        let bytes = letters.iter().map(|letter| original(letter).len() as u64).sum();
        let next = Position::new(last.reject.position + 1);
        Ok(Some(ReadBatch { bytes, ..ReadBatch::new(records(letters)?, next) }))
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

fn records(letters: &[Letter]) -> Result<RecordBatch> {
    let texts = letters.iter().map(|letter| String::from_utf8_lossy(original(letter)));
    let lossy = letters.iter().map(|letter| Some(std::str::from_utf8(original(letter)).is_err()));
    let positions = letters.iter().map(|letter| letter.reject.position);
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(texts)),
        Arc::new(lossy.collect::<BooleanArray>()),
        Arc::new(positions.collect::<Int64Array>()),
    ];
    RecordBatch::try_new(message_schema(), columns)
        .map_err(|error| Error::bug("letters do not fit their columns").because(error))
}

fn original(letter: &Letter) -> &[u8] {
    letter.reject.original.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use contract::discovery::list;
    use contract::record::positions;
    use contract::source::Reject;

    use super::*;

    fn letter(split: &str, position: i64) -> Letter {
        let reject = Reject::new(position, "broken").with_original(b"line"[..].into());
        Letter { source: "access".into(), split: SplitId::new(split), reject }
    }

    async fn check(from: Option<i64>, until: Until, expect: &[i64]) {
        let letters = [letter("a", 3), letter("a", 7), letter("a", 20), letter("b", 5)];
        let source = Letters::new(letters.iter());
        let splits = list(&source, None).await.expect("listed").splits;
        assert_eq!(splits.len(), 2);
        let from = from.map(Position::new);
        let mut reader =
            source.open(&splits[0], from.as_ref(), until.clone()).await.expect("opened");
        let mut read = Vec::new();
        while let Some(batch) = reader.next_batch().await.expect("read") {
            read.extend_from_slice(positions(&batch.records).expect("there").values());
            assert_eq!(Some(batch.next.at - 1), read.last().copied());
        }
        assert_eq!(read, expect, "{from:?} {until:?}");
    }

    #[tokio::test]
    async fn a_range_holds_the_letters_from_its_begin_to_before_its_end() {
        check(None, Until::End, &[3, 7, 20]).await;
        check(Some(4), Until::End, &[7, 20]).await;
        check(Some(7), Until::Position(Position::new(20)), &[7]).await;
        check(Some(21), Until::End, &[]).await;
        check(Some(20), Until::Position(Position::new(7)), &[]).await;
    }
}
