//! Shows what was counted as Prometheus' text.

use std::time::Duration;

use contract::Result;
use contract::error::Context;
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::catalog::{BUILD, Form, METRICS};
use super::derived::{Own, derive};
use super::splits;

/// The upper bounds of the buckets of every histogram, in seconds.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0,
    120.0, 300.0, 900.0,
];
/// How often observations are put into their buckets where nobody scrapes.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// The text form of everything that this process counts.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    /// Begins to count, once per process and before any run: what was made before counts nothing.
    ///
    /// # Errors
    /// Bug: somebody counts already.
    pub fn install() -> Result<Self> {
        let builder = PrometheusBuilder::new().set_buckets(BUCKETS);
        let recorder = builder.bug("the buckets are wrong")?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).bug("metrics are counted already")?;
        for metric in METRICS {
            match metric.form {
                Form::Counter => describe_counter!(metric.name, metric.help),
                Form::Gauge => describe_gauge!(metric.name, metric.help),
                Form::Histogram => describe_histogram!(metric.name, metric.help),
            }
        }
        metrics::gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let process = Collector::default();
        process.describe();
        Ok(Self { handle, process })
    }

    /// All metrics now, in Prometheus' text format, and those of pipelines under names of their
    /// own.
    pub fn render(&self, own: &[Own]) -> String {
        self.process.collect();
        let mut text = self.handle.render();
        text.push_str(&splits::render());
        text.push_str(&derive(&text, own));
        text
    }

    /// Keeps observations from piling up where nobody asks for them. Never ends.
    pub async fn tidy(self) {
        let mut ticks = tokio::time::interval(TIDY_EVERY);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}
