//! What happens where a share of the memory is used up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::Discoverer;
use contract::source::{KnownSplit, Lag, ReadBatch, Source, Split, SplitReader, Terms, Until};
use contract::{ErrorKind, Position, Result};

use super::{Fixture, Proof, ROWS, SPLITS, Start, block_on};

/// As many splits as are read at once, and as many again.
const MANY: u64 = 16;

fn limited(fixture: Fixture, limit: &str) -> Fixture {
    let yaml = format!("{}memory: {{ limit: {limit} }}\n", fixture.yaml.replace("2KiB", "1GiB"));
    Fixture { yaml, ..fixture }
}

#[test]
fn a_writer_that_holds_more_than_its_share_ends_the_epoch() {
    let _alone = Proof::alone();
    // Of 32 KiB so little may be under way that nothing is read before the writer has said so.
    for (limit, is_short) in [("256MiB", false), ("32KiB", true)] {
        let fixture = limited(Fixture::new(), limit);
        let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
        assert_eq!(summary.epochs > 1, is_short, "{limit}: {} epochs", summary.epochs);
        fixture.check();
    }
}

#[test]
fn a_state_that_is_larger_than_its_share_is_refused_until_the_limit_is_raised() {
    let _alone = Proof::alone();
    // Of 8 KiB, 2,211 bytes are for states; the state takes 9 bytes for each of its numbers.
    let fixture = limited(Fixture::new(), "8KiB");
    let error = fixture.proof().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.chain().contains("the state of step \"first\" takes"), "{}", error.chain());
    assert!(error.hint_text().unwrap().contains("raise `memory.limit` to 1MiB"), "{error:?}");
    let yaml = fixture.yaml.replace("8KiB", "1MiB");
    let fixture = Fixture { yaml, ..fixture };
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    assert!(summary.read > 0);
    fixture.check();
}

/// A source whose readers fetch as much as all of them may, as long as they read.
#[derive(Clone)]
struct Greedy {
    inner: Arc<dyn Source>,
    share: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
    /// Readers that are not at their end.
    reading: Arc<AtomicU64>,
    /// Those that were not when the first reader was opened in the place of another.
    left: Arc<AtomicU64>,
}

#[async_trait]
impl Source for Greedy {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    async fn begin(&self, terms: &Terms) -> Result<()> {
        self.share.store(terms.fetch_bytes as u64, Ordering::SeqCst);
        self.inner.begin(terms).await
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        self.inner.discover(known)
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        // What was refused is read again, beside everything else.
        if let Until::Position(_) = until {
            return self.inner.open(split, from, until).await;
        }
        let reading = self.reading.fetch_add(1, Ordering::SeqCst);
        if self.opened.fetch_add(1, Ordering::SeqCst) == MANY / 2 {
            self.left.store(reading, Ordering::SeqCst);
        }
        let inner = self.inner.open(split, from, until).await?;
        let fetched_bytes = self.share.load(Ordering::SeqCst) as usize;
        Ok(Box::new(GreedyReader { inner, fetched_bytes, reading: self.reading.clone() }))
    }
}

struct GreedyReader {
    inner: Box<dyn SplitReader>,
    fetched_bytes: usize,
    reading: Arc<AtomicU64>,
}

#[async_trait]
impl SplitReader for GreedyReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        let batch = self.inner.next_batch().await?;
        if batch.is_none() && std::mem::take(&mut self.fetched_bytes) > 0 {
            self.reading.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(batch)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        self.inner.acknowledge(position).await
    }

    fn lag(&self) -> Lag {
        Lag { fetched_bytes: self.fetched_bytes, ..Lag::default() }
    }
}

#[test]
fn no_split_is_opened_while_the_others_have_fetched_all_that_may_be_fetched() {
    let _alone = Proof::alone();
    let mut fixture = limited(Fixture::new(), "256MiB");
    fixture.yaml = fixture.yaml.replace(&format!("splits: {SPLITS}"), &format!("splits: {MANY}"));
    let mut source = None;
    let ran = fixture.run_edited(|pipeline| {
        let inner = pipeline.sources[0].source.clone();
        let [share, opened, reading, left] = [(); 4].map(|()| Arc::default());
        let greedy = Greedy { inner, share, opened, reading, left };
        pipeline.sources[0].source = Arc::new(greedy.clone());
        source = Some(greedy);
    });
    let summary = block_on(ran).unwrap();
    assert_eq!(summary.read, MANY * ROWS as u64);
    let source = source.expect("it was made");
    assert_eq!(source.opened.load(Ordering::SeqCst), MANY);
    assert_eq!(source.left.load(Ordering::SeqCst), 0, "one was opened before all others ended");
    assert!(source.share.load(Ordering::SeqCst) > 0);
}
