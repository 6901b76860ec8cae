//! Counts of requests, for `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Upper ends of the histogram's buckets, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0];

/// Counts of requests by route and status. Routes are those of the router, so their number is
/// bounded whatever clients ask for.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<(String, u16), Counted>>);

#[derive(Debug, Default)]
struct Counted {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Traffic {
    /// Counts an answer.
    pub fn add(&self, route: &str, status: u16, took: Duration) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = counted.entry((route.to_owned(), status)).or_default();
        let seconds = took.as_secs_f64();
        for (bucket, end) in one.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
        one.count += 1;
        one.seconds += seconds;
    }

    /// The counts in the text format of Prometheus.
    pub fn text(&self) -> String {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP logmill_http_request_duration_seconds Time until the head of an answer.\n\
             # TYPE logmill_http_request_duration_seconds histogram\n",
        );
        for ((route, status), one) in counted.iter() {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            let name = "logmill_http_request_duration_seconds";
            // Writing to a text does not fail.
            for (count, end) in one.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{end}\"}} {count}");
            }
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", one.count);
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}", one.seconds);
            let _ = writeln!(text, "{name}_count{{{labels}}} {}", one.count);
        }
        text
    }
}
