//! What the server needs of the program around it.
//!
//! The server knows no pipeline file and no connector; whoever starts it does.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use contract::{Origin, Result};
use plan::Plan;
use serde::{Deserialize, Serialize};
use state::CheckpointStore;
use utoipa::ToSchema;

/// A pipeline that is served.
#[derive(Clone)]
pub struct Served {
    /// Its name.
    pub name: String,
    /// Its file and what stands in it; none where only its checkpoints are known.
    pub file: Option<(PathBuf, Arc<Plan>)>,
    /// What each sink promises, by name.
    pub promises: Vec<(String, String)>,
    /// Where its checkpoints lie; none if it never ran.
    pub checkpoints: Option<CheckpointStore>,
    /// How it is, where the program knows better than its checkpoints.
    pub state: Option<State>,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
}

/// How a pipeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A process runs it.
    Running,
    /// It ran, and nobody runs it now.
    Idle,
    /// Its last run failed.
    Failed,
    /// It waits for its time.
    Scheduled,
    /// It never ran.
    Unknown,
}

/// When a pipeline runs by itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Schedule {
    /// The times, as cron writes them.
    pub cron: String,
    /// Whose times they are.
    pub time_zone: String,
    /// When it runs next.
    #[schema(format = DateTime)]
    pub next: Option<String>,
    /// The last run.
    pub last: Option<LastRun>,
}

/// The last run of a schedule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LastRun {
    /// When it began.
    #[schema(format = DateTime)]
    pub started: String,
    /// When it ended; none while it goes on.
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    /// What came of it.
    pub outcome: String,
}

/// A run of a schedule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScheduledRun {
    /// When it began.
    #[schema(format = DateTime)]
    pub started: String,
    /// When it ended; none while it goes on.
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    /// When it was due.
    #[schema(format = DateTime)]
    pub due: Option<String>,
    /// What came of it.
    pub outcome: String,
    /// Records read.
    pub read: u64,
    /// Rows delivered.
    pub delivered: u64,
    /// Why it failed, if it did.
    pub message: Option<String>,
}

/// Dead letters that are asked for again.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Only those that this sink lacks.
    pub sink: Option<String>,
    /// Only those of these records; all if there are none.
    pub origins: Vec<Origin>,
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Dead letters that were given again and delivered.
    pub replayed: u64,
    /// Dead letters that are still open.
    pub remaining: u64,
    /// Those of the replayed that were refused again.
    pub failed: u64,
}

/// The program around a server.
#[async_trait]
pub trait Host: Send + Sync {
    /// The pipelines, by name.
    ///
    /// # Errors
    /// External: the checkpoints cannot be listed.
    async fn pipelines(&self) -> Result<Vec<Served>>;

    /// Whether dead letters of a pipeline can be replayed: its file is known.
    fn is_writable(&self) -> bool;

    /// Gives open dead letters of a pipeline again.
    ///
    /// # Errors
    /// NotOwner: another process replays. Config: the file does not fit any more. External.
    async fn replay(&self, pipeline: &str, replay: Replay) -> Result<Replayed>;

    /// The runs of a pipeline's schedule, the newest first.
    ///
    /// # Errors
    /// External: the notes of runs cannot be read.
    async fn runs(&self, _pipeline: &str) -> Result<Vec<ScheduledRun>> {
        Ok(Vec::new())
    }

    /// A child process that answers one query: it reads [`crate::worker::Ask`] as JSON on stdin and
    /// writes [`crate::worker::Told`] as JSON on stdout.
    fn worker(&self) -> std::process::Command;

    /// What the program has counted, in the text format of Prometheus.
    fn metrics(&self) -> String {
        String::new()
    }
}
