//! A stream from Kafka into real servers, by the real program, which is killed meanwhile.
//!
//! Records are known by an id in them. After all that happened each one must be found once in
//! every destination, or once among the dead letters if it is broken; and `audit` must agree.

pub mod destinations;
mod feed;
pub mod others;
pub mod servers;
mod tally;
mod upgrade;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use contract::failpoint::Passed;

use crate::crash;
use crate::program::{Killed, Program, Running};
use crate::services::{find, s3_settings, setting, unique};
use crate::wait;

pub use destinations::{DESTINATIONS, Destination, places};
use feed::Feed;
pub use feed::{Compacted, create_topic, delete_topic, remake_topic};
use servers::{Called, Way, set_way};
pub use tally::Tally;
pub use upgrade::upgrade_amid;

const PARTITIONS: u16 = 4;
/// Records that have not arrived after this time will not.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(180);
/// Records that come every second of an outage.
const OUTAGE_ROWS: u64 = 200;
const OUTAGE_ROWS_EVERY: Duration = Duration::from_secs(1);
/// Moments of a kill lie up to so much behind the longest run that is thought of.
const MOMENT_MORE: Duration = Duration::from_millis(200);

/// What the pipeline of a stream looks like.
#[derive(Clone, Copy)]
pub struct Layout<'a> {
    /// How the pipeline calls its servers.
    pub called: Called,
    /// The connectors by which the stream goes to their places; to all of them at once.
    pub places: &'a [&'a str],
    /// Bytes that end an epoch, unless half a second does; none for a file without any settings.
    pub epoch_bytes: Option<u64>,
    /// Further settings of the sinks, by the names of their connectors.
    pub settings: &'a [(&'a str, &'a str)],
    /// Whether checkpoints lie in S3, where several processes share them.
    pub shared: bool,
}

impl<'a> Layout<'a> {
    /// To these places without detours, in epochs of so many bytes.
    pub fn plain(places: &'a [&'a str], epoch_bytes: u64) -> Self {
        let called = Called::Directly;
        Self { called, places, epoch_bytes: Some(epoch_bytes), settings: &[], shared: false }
    }
}

/// A stream: its feed, its pipeline, its destinations.
pub struct StreamProof {
    program: Program,
    data: PathBuf,
    brokers: String,
    group: String,
    feed: Feed,
    destinations: Vec<(String, Box<dyn Destination>)>,
}

impl StreamProof {
    /// Makes topics and a pipeline file; the sinks make the rest. None where a server is absent.
    ///
    /// # Panics
    /// A server refuses, or is absent and may not be.
    pub fn new(program: &Path, folder: &Path, layout: &Layout<'_>) -> Option<Self> {
        let program = Program::new(program, folder);
        let brokers = find("kafka")?;
        if !layout.called.begin() {
            return None;
        }
        let mut destinations = Vec::new();
        for place in layout.places {
            let destination = destinations::destination(place, layout.called)?;
            destinations.push(((*place).to_owned(), destination));
        }
        let topic = unique("feed");
        let feed = Feed::new(&brokers, &topic, PARTITIONS);
        let group = unique("stream");
        let pipeline = pipeline(&group, &topic, layout, &destinations);
        std::fs::write(folder.join("pipeline.yaml"), pipeline).expect("a pipeline file");
        let data = program.fresh("data");
        Some(Self { program, data, brokers, group, feed, destinations })
    }

    /// Puts more records into the feed.
    ///
    /// # Panics
    /// The broker does not take them.
    pub fn add(&mut self, records: u64) {
        self.feed.add(records);
    }

    /// Starts the program, to run to the end that the feed has now.
    pub fn start(&self) -> Running {
        self.program.start(&self.data, None)
    }

    /// Starts the program, to follow the feed.
    pub fn follow(&self) -> Running {
        self.program.follow(&self.data)
    }

    /// Kills the program, which must not have run before, once at every point, each time while
    /// more records flow; then finishes. Returns how many kills there were.
    ///
    /// # Panics
    /// A point is not passed, or a record is not where it must be.
    pub fn kill_at_points(&mut self, records: u64) -> usize {
        let mut kills = 0;
        for point in crash::points(&[Passed::Lineages]) {
            self.kill_at(point, 1);
            kills += 1;
        }
        for (point, pass) in self.points() {
            self.add(records);
            self.kill_at(&point, pass);
            kills += 1;
        }
        // Only a start after a crash between decision and commit passes these.
        for point in crash::points(&[Passed::Recovery, Passed::Replay]) {
            self.add(records);
            self.kill_at("decide.after", 1);
            self.kill_at(point, 1);
            kills += 2;
        }
        self.finish();
        kills
    }

    /// Every point that a start without an earlier crash passes, with the pass at which to kill:
    /// where the sinks follow each other, between each pair of them.
    fn points(&self) -> Vec<(String, u64)> {
        let mut points = Vec::new();
        for point in crash::points(&[Passed::Start, Passed::Epoch]) {
            let sinks = self.destinations.len() as u64;
            let passes = if point.contains(".sink.") { sinks } else { 1 };
            points.extend((1..=passes).map(|pass| (point.to_owned(), pass)));
        }
        for (place, _) in &self.destinations {
            let own = self.program.failpoints(place, Passed::Epoch);
            points.extend(own.into_iter().map(|point| (point, 1)));
        }
        points
    }

    fn kill_at(&self, point: &str, pass: u64) {
        let failpoint = format!("{point}:{pass}");
        let killed = self.program.start(&self.data, Some(&failpoint)).killed();
        assert_eq!(killed, Killed::Yes, "{failpoint} is passed");
    }

    /// Kills the program at random moments of its work; where it reaches the end before, more
    /// records come. Returns how many came in all.
    ///
    /// # Panics
    /// A record is not where it must be, in the end or at an end between.
    pub fn kill_at_moments(&mut self, kills: u32, records: u64, seed: u64) -> u64 {
        self.add(records);
        let whole = self.finish();
        // What a start takes that finds nothing to do.
        let idle = self.finish();
        let longest = idle + whole.saturating_sub(idle) * 2 / kills + MOMENT_MORE;
        let mut moments = StdRng::seed_from_u64(seed);
        let mut struck = 0;
        self.add(records);
        while struck < kills {
            let pause = moments.random_range(idle / 2..longest);
            match self.start().kill_after(pause) {
                Killed::Yes => struck += 1,
                Killed::No => {
                    self.check();
                    self.add(records);
                }
            }
        }
        self.finish();
        self.feed.ids()
    }

    /// Runs to the end, and checks; returns how long the run took.
    ///
    /// # Panics
    /// A record is not where it must be.
    pub fn finish(&self) -> Duration {
        let begun = Instant::now();
        let status = self.start().wait();
        assert!(status.success(), "the last start ends well: {status}");
        let took = begun.elapsed();
        self.check();
        took
    }

    /// Checks that every record is where it must be, once.
    ///
    /// # Panics
    /// One is not.
    pub fn check(&self) {
        for (place, destination) in &self.destinations {
            let tally = self.tally(destination.as_ref());
            tally.check(feed::is_whole).unwrap_or_else(|found| panic!("{place}: {found}"));
        }
        let letters = self.dead_letters().check(|id| !feed::is_whole(id));
        letters.unwrap_or_else(|found| panic!("dead letters: {found}"));
        self.program.audit(&self.data);
    }

    /// Waits until so many processes share the feed.
    ///
    /// # Panics
    /// They do not come together in time.
    pub fn wait_for_members(&self, members: usize) {
        self.wait_for("the processes that share the feed", |proof| {
            feed::has_members(&proof.brokers, &proof.group, members)
        });
    }

    /// Waits until every whole record has arrived everywhere, while the program follows the feed.
    ///
    /// # Panics
    /// One does not arrive in time.
    pub fn wait_for_arrival(&self) {
        let expected = self.whole_records();
        for (place, destination) in &self.destinations {
            let mut arrived = 0;
            let all = wait::up_to(ARRIVAL_LIMIT, || {
                arrived = self.tally(destination.as_ref()).total();
                (arrived >= expected).then_some(())
            });
            assert!(all.is_some(), "{place}: {arrived} of {expected} arrived");
        }
    }

    /// Runs to the end, while as many records come again before the first is read; the run must
    /// leave those to the next one.
    ///
    /// # Panics
    /// It reads more or less than was there when it began.
    pub fn end_where_it_began(&mut self, records: u64) {
        self.add(records);
        let expected = self.whole_records();
        let mut run = self.program.start(&self.data, Some("recover.owned:1:stop"));
        run.wait_until_it_sleeps();
        self.add(records);
        run.signal("CONT");
        let status = run.wait();
        assert!(status.success(), "the run ends well: {status}");
        for (place, destination) in &self.destinations {
            let found = self.tally(destination.as_ref()).total();
            assert_eq!(found, expected, "{place} has what was there at the beginning");
        }
        self.finish();
    }

    /// How many records of the feed can be parsed.
    fn whole_records(&self) -> u64 {
        (0..self.feed.ids()).filter(|id| feed::is_whole(*id)).count() as u64
    }

    /// Lets one process follow the feed through an outage on the way to a server, while records
    /// come all the time; then checks. The stages follow each other without a pause. One that
    /// stands still must last for longer than a transaction may: the brokers drop those that wait.
    /// Returns how long it took until everything had arrived, once the way was open again.
    ///
    /// # Panics
    /// The process ends, or a record is not where it must be.
    pub fn outlast(&mut self, server: &str, stages: &[(Way, Duration)]) -> Duration {
        let mut run = self.follow();
        self.add(OUTAGE_ROWS);
        self.wait_for_arrival();
        for (way, lasts) in stages {
            let until = Instant::now() + *lasts;
            set_way(server, *way);
            self.add(OUTAGE_ROWS);
            if *way == Way::Stalled && server != "kafka" {
                self.wait_for("a transaction that waits", Self::has_undecided);
            }
            while Instant::now() < until {
                std::thread::sleep(OUTAGE_ROWS_EVERY);
                self.add(OUTAGE_ROWS);
            }
            if *way == Way::Stalled {
                self.wait_for("brokers that drop it", |proof| !proof.has_undecided());
            }
        }
        set_way(server, Way::Open);
        let open = Instant::now();
        self.wait_for_arrival();
        let took = open.elapsed();
        assert_eq!(run.wait_for(Duration::ZERO), None, "the process outlives the outage");
        let status = run.stop();
        assert_eq!(status.code(), Some(143), "a clean stop");
        self.check();
        took
    }

    /// How many records were fed.
    pub fn records(&self) -> u64 {
        self.feed.ids()
    }

    fn has_undecided(&self) -> bool {
        self.destinations.iter().any(|(_, destination)| destination.has_undecided())
    }

    fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        wait::until(what, ARRIVAL_LIMIT, || condition(self).then_some(()));
    }

    fn tally(&self, destination: &dyn Destination) -> Tally {
        let mut tally = Tally::new(self.feed.ids());
        destination.read(&self.program, &self.data, &mut tally);
        tally
    }

    fn dead_letters(&self) -> Tally {
        let query = "SELECT original FROM dead_letters";
        let letters = self.program.ask(&self.data, &["query", query, "--format", "ndjson"]);
        let mut tally = Tally::new(self.feed.ids());
        for line in letters.lines() {
            let letter: serde_json::Value = serde_json::from_str(line).expect("a row is JSON");
            let original = letter["original"].as_str().expect("the original is text");
            let id = feed::broken_id(original).expect("the original is one of ours");
            tally.count(id, &feed::word(id));
        }
        tally
    }
}

/// The pipeline file; the pipeline has the name of its group.
fn pipeline(
    name: &str,
    topic: &str,
    layout: &Layout<'_>,
    destinations: &[(String, Box<dyn Destination>)],
) -> String {
    let called = |server: &str| layout.called.address(server).expect("it was there before");
    let brokers = called("kafka");
    let pace = layout.epoch_bytes.map(|bytes| {
        format!("epoch: {{ interval: 500ms, bytes_max: {bytes}B }}\nretry: {{ for: 5m }}\n")
    });
    let mut text = format!(
        "name: {name}\n{}\
         sources:\n  feed: {{ type: kafka, brokers: \"{brokers}\", topics: {topic}, \
         group: {name} }}\n\
         transforms:\n  parsed: {{ type: parse, input: feed, format: json, \
         fields: {{ id: integer, word: text }} }}\n\
         sinks:\n",
        pace.unwrap_or_default()
    );
    for (place, destination) in destinations {
        let of_place = layout.settings.iter().filter(|(name, _)| name == place);
        let more: String = of_place.map(|(_, settings)| format!(", {settings}")).collect();
        text += &format!("  {place}: {{ input: parsed, {}{more} }}\n", destination.settings());
    }
    if layout.shared {
        let (bucket, s3) = (setting("s3_bucket"), s3_settings(&called("s3")));
        text += &format!("checkpoint: {{ url: \"s3://{bucket}/checkpoints\", {s3} }}\n");
    }
    text
}
