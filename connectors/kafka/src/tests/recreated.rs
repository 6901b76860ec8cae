//! Topics that are deleted and made anew, and settings of theirs that change, on a real broker.

use std::sync::Arc;

use arrow::array::AsArray;
use contract::discovery::list;
use contract::source::{KnownSplit, Lineages, Source, Split, SplitReader, Until};
use contract::{Position, Result};

use super::broker::{Broker, source, terms, until};

/// Reads what there is; the texts, and the position behind them.
async fn read(reader: &mut dyn SplitReader) -> Result<(Vec<String>, Option<Position>)> {
    let (mut texts, mut next) = (Vec::new(), None);
    while let Some(batch) = reader.next_batch().await? {
        let column = batch.records.column_by_name("message").expect("a column");
        texts.extend(column.as_string_view().iter().flatten().map(str::to_owned));
        next = Some(batch.next);
    }
    Ok((texts, next))
}

async fn read_split(source: &Arc<dyn Source>, known: &KnownSplit) -> (Vec<String>, Position) {
    let from = known.position.as_ref();
    let mut reader = source.open(&known.split, from, Until::End).await.unwrap();
    let (texts, next) = read(reader.as_mut()).await.unwrap();
    (texts, next.or_else(|| known.position.clone()).unwrap_or_default())
}

/// The splits once there are so many.
async fn splits(source: &Arc<dyn Source>, known: &[KnownSplit], count: usize) -> Vec<Split> {
    until("the splits", async || {
        let found = list(source.as_ref(), Some(known)).await.ok()?.splits;
        (found.len() == count).then_some(found)
    })
    .await
}

/// A topic of some records, and how it is read.
struct Case {
    broker: Broker,
    topic: String,
    settings: String,
}

impl Case {
    /// A topic with these texts and a source of it with these settings more; its split.
    async fn begin(texts: &[&str], more: &str) -> Option<(Self, Arc<dyn Source>, Split)> {
        let broker = Broker::find()?;
        let topic = broker.topic(1, &[]).await;
        broker.produce_texts(&topic, texts);
        let settings = format!("{{ brokers: \"{}\", topics: [{topic}]{more} }}", broker.address);
        let case = Self { broker, topic, settings };
        let source = case.source();
        let split = list(source.as_ref(), None).await.unwrap().splits.remove(0);
        Some((case, source, split))
    }

    /// A source that knows nothing yet.
    fn source(&self) -> Arc<dyn Source> {
        source(&self.settings)
    }

    /// Another topic of the name, with these texts.
    async fn remake(&self, texts: &[&str]) {
        self.broker.remake(&self.topic, texts).await;
    }
}

/// A topic of three records that were read, and is another one of five now.
async fn recreated(more: &str) -> Option<(Case, KnownSplit)> {
    let (case, source, split) = Case::begin(&["a", "b", "c"], more).await?;
    let mut known = KnownSplit { split, position: None };
    let (texts, next) = read_split(&source, &known).await;
    assert_eq!(texts, ["a", "b", "c"]);
    known.position = Some(next);
    case.remake(&["A", "B", "C", "D", "E"]).await;
    Some((case, known))
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_another_split_from_its_beginning() {
    let Some((case, old)) = recreated("").await else { return };
    let source = case.source();
    let found = splits(&source, std::slice::from_ref(&old), 2).await;
    assert_eq!(found[0].id, old.split.id, "its decided epoch may not be finished yet");
    let new = KnownSplit { split: found[1].clone(), position: None };
    assert!(new.split.id.as_str().starts_with(&format!("{}/0.", case.topic)), "{}", new.split.id);
    let (texts, next) = read_split(&source, &new).await;
    assert_eq!(texts, ["A", "B", "C", "D", "E"]);
    let new = KnownSplit { position: Some(next), ..new };
    let (texts, _) = read_split(&source, &old).await;
    assert!(texts.is_empty(), "nothing of the new one is read as the old one's: {texts:?}");

    // Once both are known, nothing is found any more, and both keep their names.
    let both = [old.clone(), new.clone()];
    let again = splits(&source, &both, 2).await;
    assert_eq!((&again[0].id, &again[1].id), (&old.split.id, &new.split.id));

    // What was decided of the old one is gone.
    let replay = source.open(&old.split, None, Until::Position(Position::new(3))).await;
    let error = replay.err().unwrap();
    assert!(!error.retry() && error.to_string().contains("made anew"), "{}", error.chain());
    assert!(error.hint_text().unwrap().contains("--accept-loss"));
}

#[tokio::test]
async fn a_split_without_an_id_takes_the_one_that_it_meets_and_keeps_its_name() {
    let Some((case, first, mut split)) = Case::begin(&["a", "b"], "").await else { return };
    split.descriptor = serde_json::json!({ "start": 0 });
    let mut known = KnownSplit { split, position: Some(Position::new(1)) };
    let found = splits(&first, std::slice::from_ref(&known), 1).await;
    assert_eq!(found[0].id, known.split.id);
    let (texts, next) = read_split(&first, &known).await;
    assert_eq!(texts, ["b"]);
    assert!(next.note.is_some(), "its position carries the id from now on");
    known.position = Some(next);
    case.remake(&["A", "B", "C"]).await;
    let found = splits(&case.source(), std::slice::from_ref(&known), 2).await;
    assert_ne!(found[1].id, known.split.id);
}

#[tokio::test]
async fn what_was_read_while_the_topic_was_made_anew_is_not_confirmed() {
    let Some((case, source, split)) = Case::begin(&["a", "b"], "").await else { return };
    let mut reader = source.open(&split, None, Until::Forever).await.unwrap();
    let batch = reader.next_batch().await.unwrap().unwrap();
    assert!(batch.records.num_rows() > 0);
    reader.confirm().await.unwrap();
    case.remake(&["A", "B", "C", "D"]).await;
    let error = reader.confirm().await.unwrap_err();
    assert!(error.retry() && error.to_string().contains("made anew"), "{}", error.chain());
    // Opened again it gives nothing, whatever the new topic holds.
    let from = Position::new(2);
    let mut reader = source.open(&split, Some(&from), Until::End).await.unwrap();
    let (texts, _) = read(reader.as_mut()).await.unwrap();
    assert!(texts.is_empty(), "{texts:?}");
}

#[tokio::test]
async fn what_was_read_is_not_confirmed_where_a_listing_saw_the_topic_away() {
    let Some((case, source, split)) = Case::begin(&["a", "b"], "").await else { return };
    let from = Position::new(2);
    let mut reader = source.open(&split, Some(&from), Until::Forever).await.unwrap();
    case.broker.delete(&case.topic).await;
    let known = [KnownSplit { split, position: Some(from) }];
    until("a listing without the topic", async || {
        let found = list(source.as_ref(), Some(&known)).await.unwrap();
        found.splits.is_empty().then_some(())
    })
    .await;
    case.broker.create(&case.topic, 1, &[]).await;
    case.broker.produce_texts(&case.topic, &["A", "B", "C"]);
    let error = reader.confirm().await.unwrap_err();
    assert!(error.retry() && error.to_string().contains("made anew"), "{}", error.chain());
}

#[tokio::test]
async fn a_run_with_an_end_reads_nothing_of_a_topic_that_was_made_anew_since_it_began() {
    let Some((case, source, split)) = Case::begin(&["a", "b", "c"], "").await else { return };
    source.begin(&terms(Until::End, Lineages::One)).await.unwrap();
    case.remake(&["A"]).await;
    let old = KnownSplit { split, position: Some(Position::new(3)) };
    let found = splits(&source, &[old], 2).await;
    let new = KnownSplit { split: found[1].clone(), position: None };
    let (texts, next) = read_split(&source, &new).await;
    assert!(texts.is_empty(), "{texts:?}");
    assert_eq!(next.at, 0, "its position is not the end of the other topic");
}

#[tokio::test]
async fn a_topic_that_is_gone_is_told_once_and_known_from_then_on() {
    let Some((case, mut old)) = recreated("").await else { return };
    let before = old.position.clone().unwrap();
    for news in [true, false, false] {
        let source = case.source();
        splits(&source, std::slice::from_ref(&old), 2).await;
        let mut reader = source.open(&old.split, old.position.as_ref(), Until::End).await.unwrap();
        let (texts, next) = read(reader.as_mut()).await.unwrap();
        assert!(texts.is_empty(), "{texts:?}");
        assert_eq!(next.is_some(), news, "what a checkpoint keeps says that it was told");
        old.position = next.or(old.position);
        assert_eq!(old.position.as_ref(), Some(&before));
    }
    // A recorded range of it still cannot be read.
    let replay = case.source().open(&old.split, None, Until::Position(before)).await;
    assert!(replay.err().unwrap().to_string().contains("made anew"));
}

#[tokio::test]
async fn a_split_that_is_opened_again_at_once_sees_that_its_topic_is_another_one() {
    let Some((case, source, split)) = Case::begin(&["a", "b"], "").await else { return };
    case.remake(&[]).await;
    // The list of topics is a moment old, and the log of the new one is shorter.
    let from = Position::new(2);
    let mut reader = source.open(&split, Some(&from), Until::End).await.unwrap();
    assert!(read(reader.as_mut()).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_topic_that_was_made_anew_stops_the_run_where_that_is_set() {
    let Some((case, old)) = recreated(", recreated: stop").await else { return };
    let error = list(&*case.source(), Some(&[old])).await.unwrap_err();
    assert!(!error.retry() && error.to_string().contains("made anew"), "{}", error.chain());
}

#[tokio::test]
async fn what_a_deleted_topic_held_is_made_again_of_what_was_kept() {
    let Some((case, _, split)) = Case::begin(&["a", "b"], "").await else { return };
    case.broker.delete(&case.topic).await;
    let source = case.source();
    let from = Position::new(1);
    let range = Until::Position(Position::new(2));
    assert!(source.open(&split, Some(&from), range).await.is_err(), "its records are gone");
    let nothing = Until::Position(from.clone());
    let mut reader = source.open(&split, Some(&from), nothing).await.unwrap();
    assert!(reader.next_batch().await.unwrap().is_none());
    let made = reader.remake(1, b"b").unwrap().expect("a record");
    assert_eq!(made.column_by_name("message").unwrap().as_string_view().value(0), "b");
    assert_eq!(made.column_by_name("topic").unwrap().as_string_view().value(0), case.topic);
}
