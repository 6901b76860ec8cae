//! Other programs under the same kills: the same records, the same destinations, the same count.
//!
//! No proof: what is lost or doubled is told, and fails nothing here. Each program has the settings
//! by which it should lose least, in files of its own beside this one.

mod tools;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::destinations::{Destination, kafka, postgres};
use super::feed::Feed;
use super::tally::Tally;
use super::{Layout, PARTITIONS, pipeline};
use crate::program::{Program, Running};
use crate::services::{setting, unique};
use crate::wait;

pub use super::tally::Found;
pub use tools::{TOOLS, Tool};

/// Parts in which the records of a kill come.
const PARTS: u64 = 20;
const PART_EVERY: Duration = Duration::from_millis(100);
const EPOCH_BYTES: u64 = 16 << 20;
/// A start that delivers nothing for so long does not work.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Nothing more arrives after nothing has arrived for so long.
const QUIET_LIMIT: Duration = Duration::from_secs(60);
/// The last start takes no longer, however slow.
const FINISH_LIMIT: Duration = Duration::from_secs(1200);
/// A program that takes longer to end is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Starts the program that is tried, once more.
type Start = Box<dyn FnMut() -> Running>;

/// The kind of destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Kafka topic, read as `read_committed` readers see it.
    Topic,
    /// A PostgreSQL table.
    Table,
}

/// Where a trial takes place.
pub struct Site<'a> {
    /// Where Logmill is.
    pub program: &'a Path,
    /// An empty folder.
    pub folder: &'a Path,
    /// Where records go.
    pub target: Target,
}

/// How often a program is killed, and amid how many records.
#[derive(Clone, Copy)]
pub struct Kills {
    kills: u32,
    records: u64,
    seed: u64,
}

impl Kills {
    /// So many kills amid so many records; the seed chooses the moments.
    ///
    /// # Errors
    /// The records do not suffice for a part of them before and after each moment.
    pub fn new(kills: u32, records: u64, seed: u64) -> Result<Self, String> {
        let needed = u64::from(kills) * PARTS;
        match kills > 0 && records >= needed {
            true => Ok(Self { kills, records, seed }),
            false => Err(format!(
                "{kills} kills amid {records} records: 1 or more, with {PARTS} records for each"
            )),
        }
    }
}

/// The names of what records flow through.
struct Route {
    feed: String,
    group: String,
    /// What comes before a topic's name where it is mirrored.
    alias: String,
    destination: String,
}

impl Route {
    fn new(target: Target) -> Self {
        let (feed, group, alias) = (unique("feed"), unique("group"), unique("milled"));
        let destination = match target {
            // Mirrors get such names, and others can have them.
            Target::Topic => format!("{alias}.{feed}"),
            Target::Table => alias.clone(),
        };
        Self { feed, group, alias, destination }
    }
}

/// One program with one destination, to be killed.
pub struct Trial {
    /// Logmill, which destinations may ask for their rows.
    program: Program,
    data: PathBuf,
    feed: Feed,
    destination: Box<dyn Destination>,
    start: Start,
}

impl Trial {
    /// Logmill itself.
    ///
    /// # Panics
    /// A server refuses.
    pub fn of_logmill(site: &Site<'_>) -> Self {
        let place = match site.target {
            Target::Topic => "kafka",
            Target::Table => "postgres",
        };
        let places = [place];
        let layout = Layout::plain(&places, EPOCH_BYTES);
        let route = Route::new(site.target);
        let sinks = [(place.to_owned(), destination(site.target, &route))];
        let text = pipeline(&route.group, &route.feed, &layout, &sinks);
        std::fs::write(site.folder.join("pipeline.yaml"), text).expect("a pipeline file");
        let program = Program::new(site.program, site.folder);
        let data = program.fresh("data");
        let [(_, destination)] = sinks;
        Self::new(site, &route, destination, Box::new(move || program.follow(&data)))
    }

    /// Another program; none where it is not installed, or has no such destination.
    ///
    /// # Panics
    /// A server refuses.
    pub fn of_other(tool: &Tool, site: &Site<'_>) -> Option<Self> {
        let route = Route::new(site.target);
        let mut command = tool.prepare(site, &route)?;
        if site.target == Target::Table {
            postgres::Table::named(&setting("postgres"), &route.destination).create();
        }
        let start = move || Running::spawn(&mut command);
        Some(Self::new(site, &route, destination(site.target, &route), Box::new(start)))
    }

    fn new(
        site: &Site<'_>,
        route: &Route,
        destination: Box<dyn Destination>,
        start: Start,
    ) -> Self {
        let program = Program::new(site.program, site.folder);
        let data = program.folder().join("data");
        let feed = Feed::whole(&setting("kafka"), &route.feed, PARTITIONS);
        Self { program, data, feed, destination, start }
    }

    /// Kills the program at random moments while records flow, starts it again each time, and
    /// lets the last start finish. Returns what is not there once.
    ///
    /// # Errors
    /// The program ends by itself, or delivers nothing.
    ///
    /// # Panics
    /// A server does not answer.
    pub fn run(mut self, kills: Kills) -> Result<Found, String> {
        let mut moments = StdRng::seed_from_u64(kills.seed);
        let part = kills.records / u64::from(kills.kills) / PARTS;
        for _ in 0..kills.kills {
            self.strike(part, &mut moments)?;
        }
        self.feed.add(kills.records - self.feed.ids());
        self.finish();
        Ok(self.tally().compare(|_| true))
    }

    /// One kill, somewhere amid records that come part by part once a start delivers.
    fn strike(&mut self, part: u64, moments: &mut StdRng) -> Result<(), String> {
        let before = self.tally().total();
        let mut run = (self.start)();
        self.feed.add(part);
        self.wait_for_more(&mut run, before)?;
        let parts = moments.random_range(1..PARTS);
        for _ in 1..parts {
            std::thread::sleep(PART_EVERY);
            self.feed.add(part);
        }
        std::thread::sleep(PART_EVERY.mul_f64(moments.random_range(0.0..1.0)));
        still_runs(&mut run)?;
        run.signal("KILL");
        run.wait();
        self.feed.add(part * (PARTS - parts));
        Ok(())
    }

    fn wait_for_more(&self, run: &mut Running, before: u64) -> Result<(), String> {
        let more = wait::up_to(START_LIMIT, || match still_runs(run) {
            Ok(()) => (self.tally().total() > before).then_some(Ok(())),
            ended => Some(ended),
        });
        more.unwrap_or_else(|| Err(format!("it delivers nothing within {START_LIMIT:?}")))
    }

    /// Runs until every record has arrived, or no more come.
    fn finish(&mut self) {
        let mut run = (self.start)();
        let (mut arrived, mut since) = (0, Instant::now());
        // What has not arrived then is lost.
        let _ = wait::up_to(FINISH_LIMIT, || {
            let tally = self.tally();
            if tally.total() != arrived {
                (arrived, since) = (tally.total(), Instant::now());
            }
            let all = tally.compare(|_| true).missing.is_empty();
            (all || since.elapsed() > QUIET_LIMIT).then_some(())
        });
        if still_runs(&mut run).is_ok() {
            run.signal("TERM");
            // Dropped, it is killed.
            let _ = run.wait_for(STOP_LIMIT);
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::new(self.feed.ids());
        self.destination.read(&self.program, &self.data, &mut tally);
        tally
    }
}

fn destination(target: Target, route: &Route) -> Box<dyn Destination> {
    let name = &route.destination;
    match target {
        Target::Topic => Box::new(kafka::Topic::named(&setting("kafka"), name, PARTITIONS)),
        Target::Table => Box::new(postgres::Table::named(&setting("postgres"), name)),
    }
}

fn still_runs(run: &mut Running) -> Result<(), String> {
    match run.wait_for(Duration::ZERO) {
        Some(status) => Err(format!("it ended by itself ({status})")),
        None => Ok(()),
    }
}
