//! Whole pipelines in one process, dropped at a named point and started again.
//!
//! Dropping the runtime at a point that never returns is what SIGKILL does to everything in the
//! process; destinations that live outside the pipeline (memory stores, files) stay. One proof
//! runs at a time, because failpoints belong to the process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use contract::failpoint::{self, Action, Passed};
use contract::sink::Sink;
use contract::spec::Connector;
use contract::transform::Step;
use contract::{Error, Lineage, Result, Section};
use plan::Vocabulary;
use runtime::{BindContext, Pipeline, Progress, Rebuild, RunOptions, Summary};
use state::CheckpointStore;
use tokio::sync::watch;

/// The points that any pipeline passes so, whatever its connectors.
pub fn points(passed: &[Passed]) -> impl Iterator<Item = &'static str> {
    let points = runtime::failpoints().filter(|point| passed.contains(&point.passed));
    points.map(|point| point.name)
}

/// A run of a proof takes no longer than this, or it hangs.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// Starts that a proof may need before it is through.
const STARTS_MAX: usize = 20;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Makes the steps of a proof's pipeline.
pub type MakeStep = fn(&str, &str, &Section, &[(String, SchemaRef)]) -> Result<Arc<dyn Step>>;

/// A pipeline that can be run again and again over the same destinations.
#[derive(Clone)]
pub struct Proof {
    /// The pipeline file.
    pub yaml: String,
    /// The kinds of its transforms.
    pub transforms: &'static [&'static str],
    /// Makes them.
    pub make_step: MakeStep,
    /// The connectors that it uses.
    pub connectors: &'static [&'static dyn Connector],
    /// The data folder.
    pub data: PathBuf,
    /// Where checkpoints go; as the pipeline file says if none.
    pub checkpoints: Option<CheckpointStore>,
    /// Whether to go on from what the sinks hold of a lost history.
    pub adopt: bool,
    /// Where dead letters go.
    pub dead_letters: Arc<dyn Sink>,
    /// The rules by which it makes rows; lower ones make it the program of an earlier version.
    pub semantics: u32,
}

/// How one start went.
#[derive(Debug)]
pub enum Start {
    /// It came to its end.
    Ended(Summary),
    /// It was dropped at the armed point.
    Crashed,
}

impl Proof {
    /// Keeps other proofs of this process out while failpoints are in use.
    pub fn alone() -> MutexGuard<'static, ()> {
        ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Crashes at the `n`th pass of a point, then starts until the end is reached.
    ///
    /// # Panics
    /// The point is not passed so often, a start fails, or the end is never reached.
    pub fn crash_at(&self, point: &str, n: u64) {
        failpoint::arm(point, n, Action::Halt);
        assert_eq!(self.run_to_the_end(point, n), 1, "one crash at {point}");
    }

    /// Crashes at one point and then, while that is repaired, at the first pass of another.
    ///
    /// # Panics
    /// As for [`Proof::crash_at`].
    pub fn crash_twice(&self, first: (&str, u64), second: &str) {
        failpoint::arm(first.0, first.1, Action::Halt);
        match self.start() {
            Ok(Start::Crashed) => self.crash_at(second, 1),
            Ok(Start::Ended(_)) => panic!("{first:?} is not passed"),
            Err(error) => panic!("at {first:?}: {}", error.chain()),
        }
    }

    /// Loses an answer at the `n`th pass of a point; the run repairs itself and ends.
    ///
    /// # Panics
    /// The point is not passed so often, or the run fails.
    pub fn fail_at(&self, point: &str, n: u64) {
        failpoint::arm(point, n, Action::Fail);
        assert_eq!(self.run_to_the_end(point, n), 0, "a lost answer is no crash");
    }

    /// Returns how often it had crashed.
    fn run_to_the_end(&self, point: &str, n: u64) -> usize {
        for crashes in 0..STARTS_MAX {
            match self.start() {
                Ok(Start::Crashed) => {}
                Ok(Start::Ended(_)) => {
                    let passes = failpoint::disarm();
                    assert_eq!(passes, None, "{point} is to be passed {n} times");
                    return crashes;
                }
                Err(error) => panic!("at {point:?}: {}", error.chain()),
            }
        }
        panic!("{point:?}: {STARTS_MAX} starts and no end");
    }

    /// Runs the pipeline once, until its end or the armed point.
    ///
    /// # Errors
    /// What the run answered.
    pub fn start(&self) -> Result<Start> {
        let tasks = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Error::bug("no runtime").because(error))?;
        let pipeline = self.pipeline()?;
        let (_keep, stop) = watch::channel(false);
        let proof = self.clone();
        let rebuild: Rebuild =
            Arc::new(move |recipe| proof.pipeline_of(&recipe.text, recipe.semantics));
        let options = RunOptions {
            checkpoints: match &self.checkpoints {
                Some(checkpoints) => checkpoints.clone(),
                None => pipeline.checkpoint_store()?,
            },
            lineage: Lineage::main(),
            not_before_us: 0,
            rebuild,
            until_end: true,
            adopt: self.adopt,
            assume: None,
            accept_loss: false,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop,
        };
        let outcome = tasks.block_on(async {
            let run = runtime::run(pipeline, options, Arc::new(Progress::default()));
            tokio::select! {
                outcome = tokio::time::timeout(RUN_LIMIT, run) => match outcome {
                    Ok(outcome) => outcome.map(Start::Ended),
                    Err(_) => panic!("a run hangs"),
                },
                () = failpoint::halted() => Ok(Start::Crashed),
            }
        });
        tasks.shutdown_timeout(Duration::from_secs(10));
        outcome
    }

    /// Makes the pipeline.
    ///
    /// # Errors
    /// Config, from the plan.
    pub fn pipeline(&self) -> Result<Pipeline> {
        self.pipeline_of(&self.yaml, self.semantics)
    }

    fn pipeline_of(&self, yaml: &str, semantics: u32) -> Result<Pipeline> {
        let specs = || self.connectors.iter().map(|connector| connector.spec());
        let sources: Vec<_> = specs().map(|spec| spec.name).collect();
        let vocabulary = Vocabulary {
            sources: &sources,
            transforms: self.transforms,
            sinks: &sources,
            inputs: &|_, _| Ok(None),
            environment: &|_| None,
            secrets: &|name| Err(Error::config(format!("no secret {name:?}"))),
        };
        let plan = plan::read(yaml, "proof.yaml", &vocabulary)?;
        let ctx = BindContext {
            make_step: &self.make_step,
            connectors: self.connectors,
            data: self.data.clone(),
            dead_letters: self.dead_letters.clone(),
            semantics,
        };
        Pipeline::bind(&plan, &ctx)
    }
}
