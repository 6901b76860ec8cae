//! Sources whose system does not answer: the others begin, and where each starts is decided once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Known, Listing, Lists, list};
use contract::failpoint::{self, Action};
use contract::source::{KnownSplit, Source, Split, SplitReader, Terms, Until};
use contract::{Error, Position, Result};
use runtime::{Outcome, Pipeline, TroubleState};
use serde_json::json;
use state::Checkpoint;

use super::cluster::{Following, until};
use super::isolation::drive;
use super::{Fixture, Proof, Start, block_on, origins, store};

const ROWS: i64 = 300;
/// What a source that starts at its newest record leaves out more each time it is asked.
const STEP: i64 = 10;

/// A source that answers when a test wants, and whose splits start further behind each time it is
/// asked where they do.
#[derive(Clone)]
struct Away {
    inner: Arc<dyn Source>,
    how: Arc<How>,
}

#[derive(Default)]
struct How {
    /// Whether it answers with an error.
    is_away: AtomicBool,
    /// Whether it does not answer.
    is_silent: AtomicBool,
    /// So many questions it answers with an error.
    refusals: AtomicU64,
    /// How often it was told where to stop.
    begun: AtomicU64,
    /// How often it was asked where it starts.
    asked: AtomicU64,
}

impl How {
    fn away() -> Self {
        Self { is_away: true.into(), ..Self::default() }
    }

    /// Befalls a source of a pipeline.
    fn befall(self: &Arc<Self>, pipeline: &mut Pipeline, name: &str) {
        let node = pipeline.sources.iter_mut().find(|node| node.name == name).unwrap();
        node.source = Arc::new(Away { inner: node.source.clone(), how: self.clone() });
        node.is_elsewhere = true;
    }

    async fn answer(&self) -> Result<()> {
        if self.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let less = |left: u64| left.checked_sub(1);
        let refuses = self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        match self.is_away.load(Ordering::Relaxed) || refuses.is_ok() {
            true => Err(Error::transient("nobody answers")),
            false => Ok(()),
        }
    }
}

/// Where a split starts; at its beginning where that was never asked.
fn start_of(split: &Split) -> i64 {
    split.descriptor["start"].as_i64().unwrap_or_default()
}

#[async_trait]
impl Lists for Away {
    async fn list(&self, known: Option<&Known>) -> Result<Listing> {
        self.how.answer().await?;
        let start = match known {
            None => STEP * (1 + self.how.asked.fetch_add(1, Ordering::Relaxed).cast_signed()),
            Some(_) => 0,
        };
        let mut found = list(self.inner.as_ref(), known.map(|known| known.as_slice())).await?;
        for split in &mut found.splits {
            let known = known.into_iter().flat_map(|known| known.iter());
            let known = known.map(|known| &known.split).find(|known| known.id == split.id);
            let start = known.map_or(start, start_of);
            // What it holds tells whether it was read.
            split.descriptor = json!({ "start": start, "rows": split.descriptor });
        }
        Ok(found)
    }
}

#[async_trait]
impl Source for Away {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    async fn begin(&self, _: &Terms) -> Result<()> {
        self.how.answer().await?;
        self.how.begun.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(self.clone(), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let start = Position::new(start_of(split));
        self.inner.open(split, Some(from.unwrap_or(&start)), until).await
    }
}

/// Two sources, each into a sink of its own.
fn of_two(settings: &str) -> Fixture {
    let fixture = Fixture::new();
    let name = &fixture.name;
    let source = format!("{{ type: memory, rows_max: {ROWS}, batch_rows: 50 }}");
    let sink = |input: &str| {
        format!("{{ type: memory, input: {input}, store: {name}-{input}, kind: staged }}")
    };
    let (one, two) = (sink("near"), sink("far"));
    let yaml = format!(
        "name: {name}\nepoch: {{ interval: 20ms }}\n{settings}sources:\n  near: {source}\n  \
         far: {source}\nsinks:\n  one: {one}\n  two: {two}\n"
    );
    Fixture { yaml, ..fixture }
}

/// The positions of the rows that a source gave, in order.
fn rows(fixture: &Fixture, source: &str) -> Vec<i64> {
    let batches = store(&format!("{}-{source}", fixture.name)).rows();
    let origins = batches.iter().flat_map(|batch| origins(batch).unwrap());
    let mut positions: Vec<_> = origins.map(|(_, position, _)| position).collect();
    positions.sort_unstable();
    positions
}

fn are_complete(fixture: &Fixture, source: &str, from: i64) -> bool {
    rows(fixture, source) == (from..ROWS).collect::<Vec<_>>()
}

async fn newest(fixture: &Fixture) -> Checkpoint {
    fixture.history().newest().await.unwrap().unwrap().checkpoint
}

#[test]
fn a_source_that_is_away_at_the_first_start_begins_once_it_answers() {
    let _alone = Proof::alone();
    let fixture = of_two("");
    let how = Arc::new(How::away());
    drive(async {
        let following = Following::start(&fixture.proof(), |pipeline| how.befall(pipeline, "far"));
        until("the other is read", async || are_complete(&fixture, "near", 0)).await;
        assert!(!newest(&fixture).await.begun.contains("far"), "it has not begun");
        how.is_away.store(false, Ordering::Relaxed);
        until("it is read", async || are_complete(&fixture, "far", STEP)).await;
        let newest = newest(&fixture).await;
        assert!(newest.begun.contains("near") && newest.begun.contains("far"));
        let summary = following.stop().await.unwrap();
        assert_eq!((summary.outcome, summary.unread.len()), (Outcome::Stopped, 0));
    });
    assert_eq!(how.asked.load(Ordering::Relaxed), 1, "where it starts is chosen once");
    assert_eq!(how.begun.load(Ordering::Relaxed), 1);
}

#[test]
fn a_known_source_that_is_away_or_silent_keeps_no_other_back() {
    let _alone = Proof::alone();
    for how in [How::away(), How { is_silent: true.into(), ..How::default() }] {
        let fixture = of_two("");
        let few = fixture.yaml.replace("rows_max: 300", "rows_max: 100");
        let begun = Fixture { yaml: few, ..of_two("") };
        let begun = Fixture { data: fixture.data, checkpoints: fixture.checkpoints, ..begun };
        let begun = Fixture { name: fixture.name.clone(), ..begun };
        assert!(matches!(begun.proof().start().unwrap(), Start::Ended(_)));
        let fixture = Fixture { yaml: fixture.yaml, ..begun };
        let how = Arc::new(how);
        drive(async {
            let edit = |pipeline: &mut Pipeline| how.befall(pipeline, "far");
            let following = Following::start(&fixture.proof(), edit);
            until("the other is read", async || are_complete(&fixture, "near", 0)).await;
            assert_eq!(rows(&fixture, "far").len(), 100);
            how.is_away.store(false, Ordering::Relaxed);
            if !how.is_silent.load(Ordering::Relaxed) {
                until("it is read", async || are_complete(&fixture, "far", 0)).await;
            }
            following.stop().await.unwrap();
        });
        assert_eq!(how.asked.load(Ordering::Relaxed), 0, "it has begun");
    }
}

#[test]
fn a_run_with_an_end_reads_the_others_and_names_the_source_that_stays_away() {
    let _alone = Proof::alone();
    let fixture = of_two("retry: { for: 2s }\n");
    let how = Arc::new(How::away());
    let summary = drive(fixture.run_edited(|pipeline| how.befall(pipeline, "far"))).unwrap();
    assert_eq!(summary.outcome, Outcome::Ended);
    assert!(are_complete(&fixture, "near", 0) && rows(&fixture, "far").is_empty());
    let unread: Vec<_> = summary.unread.iter().map(|one| (one.split.as_str(), one.state)).collect();
    assert_eq!(unread, [("far", TroubleState::Broken)]);
    let said = summary.check_complete().unwrap_err().chain();
    assert!(said.contains("source \"far\": nobody answers"), "{said}");
    how.is_away.store(false, Ordering::Relaxed);
    let summary = drive(fixture.run_edited(|pipeline| how.befall(pipeline, "far"))).unwrap();
    assert!(summary.check_complete().is_ok());
    assert!(are_complete(&fixture, "near", 0) && are_complete(&fixture, "far", STEP));
}

#[test]
fn a_run_with_an_end_waits_for_a_silent_source_as_long_as_its_settings_say() {
    let _alone = Proof::alone();
    let for_ever = Duration::from_secs(60);
    for is_isolated in [true, false] {
        let stops = if is_isolated { "" } else { "on_split_error: stop\n" };
        let fixture = of_two(&format!("retry: {{ for: 1s }}\n{stops}"));
        let how = Arc::new(How { is_silent: true.into(), ..How::default() });
        let run = fixture.run_edited(|pipeline| how.befall(pipeline, "far"));
        let ended = drive(async { tokio::time::timeout(for_ever, run).await }).expect("it ends");
        let said = match ended {
            Ok(summary) => summary.check_complete().unwrap_err().chain(),
            Err(error) => error.chain(),
        };
        assert!(said.contains("source \"far\": no answer for 1s"), "{said}");
        assert_eq!(are_complete(&fixture, "near", 0), is_isolated);
    }
}

#[test]
fn a_source_of_this_machine_may_take_its_time() {
    let _alone = Proof::alone();
    let fixture = of_two("retry: { for: 200ms }\n");
    let how = Arc::new(How { is_silent: true.into(), ..How::default() });
    drive(async {
        let run = fixture.run_edited(|pipeline| {
            how.befall(pipeline, "far");
            pipeline.sources.iter_mut().for_each(|node| node.is_elsewhere = false);
        });
        let waited = tokio::time::timeout(Duration::from_secs(1), run).await;
        assert!(waited.is_err(), "nothing was given up");
    });
}

#[test]
fn where_nothing_is_isolated_a_source_that_is_away_stops_the_run() {
    let _alone = Proof::alone();
    let fixture = of_two("retry: { for: 1s }\non_split_error: stop\n");
    let how = Arc::new(How::away());
    let ended = drive(fixture.run_edited(|pipeline| how.befall(pipeline, "far")));
    let said = ended.unwrap_err().chain();
    assert!(said.contains("source \"far\": nobody answers"), "{said}");
    assert!(rows(&fixture, "near").is_empty());
}

#[test]
fn who_is_told_to_stop_waits_for_no_source() {
    let _alone = Proof::alone();
    for how in [How::away(), How { is_silent: true.into(), ..How::default() }] {
        let fixture = of_two("");
        let how = Arc::new(how);
        drive(async {
            let edit = |pipeline: &mut Pipeline| {
                how.befall(pipeline, "near");
                how.befall(pipeline, "far");
            };
            let following = Following::start(&fixture.proof(), edit);
            tokio::task::yield_now().await;
            let summary = following.stop().await.unwrap();
            assert_eq!((summary.outcome, summary.epochs), (Outcome::Stopped, 0));
        });
        assert!(block_on(fixture.history().newest()).unwrap().is_none(), "nothing has begun");
    }
}

#[test]
fn where_a_source_starts_that_came_later_is_decided_once_wherever_it_is_killed() {
    let _alone = Proof::alone();
    let points = [
        ("begin.before", false),
        ("decide.before", false),
        ("decide.after", true),
        ("publish.done", true),
        ("begin.after", true),
    ];
    for (point, is_decided) in points {
        let fixture = of_two("");
        // The one that is there has nothing to read: the first epoch is that of the other.
        let yaml = fixture.yaml.replace(
            &format!("near: {{ type: memory, rows_max: {ROWS}"),
            "near: { type: memory, rows_max: 0",
        );
        let fixture = Fixture { yaml, ..fixture };
        let how = Arc::new(How { refusals: 1.into(), ..How::default() });
        failpoint::arm(point, 1, Action::Halt);
        drive(async {
            let edit = |pipeline: &mut Pipeline| how.befall(pipeline, "far");
            tokio::select! {
                ended = fixture.run_edited(edit) => panic!("{point} is passed: {ended:?}"),
                () = failpoint::halted() => {}
            }
        });
        failpoint::disarm();
        let begun = block_on(newest(&fixture)).begun;
        assert_eq!(begun.contains("far"), is_decided, "{point}");
        assert!(rows(&fixture, "far").is_empty(), "{point}: nothing is open yet");
        let again = drive(fixture.run_edited(|pipeline| how.befall(pipeline, "far")));
        assert!(again.unwrap().check_complete().is_ok());
        let asked = if is_decided { 1 } else { 2 };
        assert_eq!(how.asked.load(Ordering::Relaxed), asked, "{point}");
        assert!(are_complete(&fixture, "far", STEP * asked.cast_signed()), "{point}");
    }
}
