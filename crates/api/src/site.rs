//! What all requests share.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::Result;
use tokio::sync::{Semaphore, watch};

use crate::options::Options;
use crate::traffic::Traffic;

/// What all requests share.
pub struct Site {
    /// What the server was told.
    pub options: Options,
    /// Where it listens.
    pub address: SocketAddr,
    /// Places for requests that ask the data.
    pub requests: Arc<Semaphore>,
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
    pub fn new(options: Options, address: SocketAddr) -> Result<Self> {
        let requests = Arc::new(Semaphore::new(options.limits.requests_max));
        let (ending, _) = watch::channel(false);
        Ok(Self { options, address, requests, traffic: Traffic::default(), ending })
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
