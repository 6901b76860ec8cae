//! People ask a running process to try splits again that could not be read. They do it through its
//! data folder, so that no port is needed.
//!
//! A request is one file, `retries/<pipeline>`; who runs the pipeline looks for it every second,
//! answers in a file beside it and removes it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::Result;
use contract::error::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::fs;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{debug, info, warn};

use crate::attempt::Attempt;
use crate::roster::phases::Phases;

/// The folder of requests in a data folder.
const FOLDER: &str = "retries";
/// How often a process looks for a request.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the answer is looked for.
const ANSWER_EVERY: Duration = Duration::from_millis(50);
/// Who runs the pipeline answers in this time, or cannot be reached.
const PATIENCE: Duration = Duration::from_secs(15);
/// Splits that an answer names.
const NAMED_MAX: usize = 100;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    id: u64,
    /// The split that is to be tried; without one all that failed.
    pub split: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    id: u64,
    /// How many splits are tried now.
    pub count: usize,
    /// The first of them.
    pub splits: Vec<String>,
}

/// Asks whoever runs a pipeline with this data folder to try splits again: one, or all that failed.
/// None where nobody takes the request.
///
/// # Errors
/// External: the data folder cannot be written.
pub async fn ask(data: &Path, pipeline: &str, split: Option<&str>) -> Result<Option<Answer>> {
    ask_within(PATIENCE, data, (pipeline, split)).await
}

async fn ask_within(
    patience: Duration,
    data: &Path,
    (pipeline, split): (&str, Option<&str>),
) -> Result<Option<Answer>> {
    let request = Request { id: rand::random(), split: split.map(str::to_owned) };
    let path = request_path(data, pipeline);
    put(&path, &request).await?;
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let answer: Option<Answer> = read(&answer_path(data, pipeline)).await;
        if let Some(answer) = answer.filter(|answer| answer.id == request.id) {
            forget(&answer_path(data, pipeline)).await;
            return Ok(Some(answer));
        }
        tokio::time::sleep(ANSWER_EVERY).await;
    }
    forget(&path).await;
    Ok(None)
}

/// Who looks for requests.
pub(crate) struct Requests {
    data: PathBuf,
    pipeline: String,
    looks: Interval,
    /// The look that is under way, which goes on whoever stops to wait for it.
    under_way: Option<JoinHandle<Option<Request>>>,
}

impl Requests {
    /// Looks for those of a pipeline.
    pub fn new(data: &Path, pipeline: &str) -> Self {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { data: data.to_owned(), pipeline: pipeline.to_owned(), looks, under_way: None }
    }

    /// The next request. It stays until it is answered. Nothing is lost where the caller stops to
    /// wait.
    pub async fn next(&mut self) -> Request {
        loop {
            if self.under_way.is_none() {
                self.looks.tick().await;
                let path = request_path(&self.data, &self.pipeline);
                self.under_way = Some(tokio::spawn(async move { read(&path).await }));
            }
            let Some(look) = &mut self.under_way else { continue };
            let found = look.await;
            self.under_way = None;
            if let Ok(Some(request)) = found {
                return request;
            }
        }
    }

    /// Lets the splits that are asked for, and that failed, wait for a reader now, and says so.
    pub(crate) async fn take(&self, request: &Request, attempt: &Attempt<'_>, phases: &mut Phases) {
        let mut tried = Vec::new();
        for index in phases.failed() {
            let id = attempt.checkpoint.roster[index].known.split.id.as_str();
            let is_meant = request.split.as_deref().is_none_or(|wanted| wanted == id);
            if is_meant && phases.try_now(index) {
                info!(split = id, "a split that failed is tried again, as somebody asked for it");
                tried.push(id.to_owned());
            }
        }
        if let Err(error) = self.answer(request, tried).await {
            warn!(error = error.chain(), "could not say which splits are tried again");
        }
    }

    async fn answer(&self, request: &Request, tried: Vec<String>) -> Result<()> {
        let count = tried.len();
        let splits = tried.into_iter().take(NAMED_MAX).collect();
        forget(&request_path(&self.data, &self.pipeline)).await;
        let answer = Answer { id: request.id, count, splits };
        put(&answer_path(&self.data, &self.pipeline), &answer).await
    }
}

fn request_path(data: &Path, pipeline: &str) -> PathBuf {
    data.join(FOLDER).join(pipeline)
}

fn answer_path(data: &Path, pipeline: &str) -> PathBuf {
    data.join(FOLDER).join(format!("{pipeline}.answer"))
}

/// Writes a file that is read whole or not at all.
async fn put<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = || format!("could not write {:?}", path.display().to_string());
    let bytes = serde_json::to_vec(value).bug("a request is no JSON")?;
    let half = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await.external(failed)?;
    }
    fs::write(&half, bytes).await.external(failed)?;
    fs::rename(&half, path).await.external(failed)
}

/// What stands in a file; none where it is not there, or holds something else.
async fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).await.ok()?).ok()
}

async fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path).await
        && error.kind() != io::ErrorKind::NotFound
    {
        let path = path.display().to_string();
        debug!(path, %error, "could not remove a request");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_once_or_taken_back() {
        let data = tempfile::tempdir().expect("a folder");
        let nobody = ask_within(ANSWER_EVERY, data.path(), ("web", None)).await.expect("written");
        assert_eq!(nobody, None);
        let mut requests = Requests::new(data.path(), "web");
        let answered = async {
            let request = requests.next().await;
            requests.answer(&request, vec!["a.log".to_owned()]).await.expect("written");
            request
        };
        let (answer, request) = tokio::join!(ask(data.path(), "web", Some("a.log")), answered);
        assert_eq!(request.split.as_deref(), Some("a.log"), "not the one that was taken back");
        let answer = answer.expect("written").expect("answered");
        assert_eq!((answer.count, answer.splits), (1, vec!["a.log".to_owned()]));
        let left = std::fs::read_dir(data.path().join(FOLDER)).expect("listed").count();
        assert_eq!(left, 0, "nothing is left");
    }
}
