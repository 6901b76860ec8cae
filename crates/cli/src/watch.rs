//! `run --metrics`: what is counted, and how the run is, for whoever asks over HTTP.

use std::io::Write;
use std::sync::Arc;

use api::{Audience, Monitor, Watched};
use contract::Result;
use runtime::Progress;
use runtime::metrics::{Exporter, Own};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::arguments::Global;

/// A server that listens, and counters that count.
pub struct Watch {
    monitor: Monitor,
    exporter: Exporter,
}

/// Answers until it is dropped.
pub struct Watching {
    _tasks: JoinSet<()>,
    _stop: watch::Sender<bool>,
}

impl Watch {
    /// Begins to count, and to listen. Before anything is run.
    ///
    /// # Errors
    /// As for [`Monitor::bind`].
    pub async fn begin(address: &str, is_open: bool) -> Result<Self> {
        let audience = if is_open { Audience::Anybody } else { Audience::Local };
        let monitor = Monitor::bind(address, audience).await?;
        Ok(Self { monitor, exporter: Exporter::install()? })
    }

    /// Answers for runs, with the metrics that their files name, and says where.
    pub fn answer(self, runs: Vec<Arc<Progress>>, own: Vec<Own>, global: &Global) -> Watching {
        let address = self.monitor.address();
        if global.logs_everything() {
            tracing::info!(%address, "serving metrics and health");
        } else if !global.quiet {
            // Where stderr is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "metrics at http://{address}/metrics");
        }
        let exporter = self.exporter.clone();
        let failing = runs.clone();
        let watched = Watched {
            failing_splits: Box::new(move || {
                failing.iter().map(|run| run.troubles.failing()).sum()
            }),
            metrics: Box::new(move || exporter.render(&own)),
            trouble: Box::new(move || runs.iter().find_map(|run| run.trouble())),
        };
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.monitor.run(watched, stopped));
        tasks.spawn(self.exporter.tidy());
        Watching { _tasks: tasks, _stop: stop }
    }
}
