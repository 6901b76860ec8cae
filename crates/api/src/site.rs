//! What all requests share.

use std::sync::Arc;

use contract::Result;
use tokio::sync::{Semaphore, watch};

use crate::analytics;
use crate::analytics::desk::Desk;
use crate::options::Options;
use crate::pipelines::letters::Open;
use crate::pipelines::{Board, Detail};
use crate::problem::Answer;
use crate::traffic::Traffic;

/// What all requests share.
pub struct Site {
    /// What the server was told.
    pub options: Options,
    /// Places for requests that ask the data.
    pub requests: Arc<Semaphore>,
    /// Places for open event streams.
    pub tails: Arc<Semaphore>,
    /// Places for processes that answer SQL.
    pub workers: Semaphore,
    /// What is known of pipelines.
    pub board: Board,
    /// How many dead letters are open.
    pub letters: Open,
    /// Who answers questions about the table; none if no table is served.
    pub desk: Option<Arc<Desk>>,
    /// Counts of requests.
    pub traffic: Traffic,
    /// Turns true when open streams should end.
    ending: watch::Sender<bool>,
}

impl Site {
    /// The site of a server that listens.
    ///
    /// # Errors
    /// Config: the analytics name a place that we do not know.
    pub fn new(options: Options) -> Result<Self> {
        let requests = Arc::new(Semaphore::new(options.limits.requests_max));
        let tails = Arc::new(Semaphore::new(options.limits.tails_max));
        let desk = options.analytics.as_ref();
        let desk = desk.map(|table| analytics::desk(table, &options.limits)).transpose()?;
        let desk = desk.map(Arc::new);
        let (ending, _) = watch::channel(false);
        Ok(Self {
            requests,
            tails,
            workers: Semaphore::new(options.limits.workers_max),
            board: Board::default(),
            letters: Open::default(),
            desk,
            traffic: Traffic::default(),
            ending,
            options,
        })
    }

    /// Open dead letters of the pipelines that are served.
    ///
    /// # Errors
    /// 503: the lake cannot be read.
    pub async fn open_letters(&self) -> Answer<u64> {
        let open = self.letters.counts(&self.options.data).await?;
        let served = self.options.host.pipelines().await?;
        Ok(served.iter().filter_map(|served| open.get(&served.name)).sum())
    }

    /// All pipelines with their parts, by name.
    ///
    /// # Errors
    /// 503: checkpoints or lake cannot be read.
    pub async fn details(&self) -> Answer<Vec<Detail>> {
        let open = self.letters.counts(&self.options.data).await?;
        let mut details = Vec::new();
        for served in self.options.host.pipelines().await? {
            let open = open.get(&served.name).copied().unwrap_or_default();
            details.push(self.board.detail(&served, open).await?);
        }
        Ok(details)
    }

    /// Ends open streams.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Turns true when open streams should end.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }
}
