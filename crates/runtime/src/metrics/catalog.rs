//! All metrics: name, form, labels, meaning. `docs/metrics.md` is made of this list.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Only grows, from zero at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Form {
    /// The word after `# TYPE`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Which pipelines show a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Every running pipeline.
    Run,
    /// A source that knows how many records it still has to give: Kafka.
    RecordLag,
    /// A source that knows how many bytes it still has to give: files.
    ByteLag,
    /// A pipeline with a schedule.
    Schedule,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub form: Form,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Who shows it.
    pub origin: Origin,
    /// What it says, as `# HELP` gives it.
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, form: Form::Counter, labels, origin: Origin::Run, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, form: Form::Gauge, labels, origin: Origin::Run, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, form: Form::Histogram, labels, origin: Origin::Run, help }
}

const fn scheduled(metric: Metric) -> Metric {
    Metric { origin: Origin::Schedule, ..metric }
}

pub const PROCESSED: &str = "log_records_processed_total";
pub const ERRORS: &str = "log_records_errors_total";
pub const LATENCY: &str = "log_processing_latency_seconds";
pub const BUILD: &str = "logmill_build_info";
pub const READ_RECORDS: &str = "logmill_source_read_records_total";
pub const READ_BYTES: &str = "logmill_source_read_bytes_total";
pub const SKIPPED_BYTES: &str = "logmill_source_skipped_bytes_total";
pub const SOURCE_RECORDS: &str = "logmill_source_records_total";
pub const SPLIT_RECORDS: &str = "logmill_split_records_total";
pub const SPLIT_POSITION: &str = "logmill_split_position";
pub const SPLIT_LAG_RECORDS: &str = "logmill_split_lag_records";
pub const SPLIT_LAG_BYTES: &str = "logmill_split_lag_bytes";
pub const FAILED_SPLITS: &str = "logmill_source_failed_splits";
pub const BROKEN_SPLITS: &str = "logmill_source_broken_splits";
pub const WAITING_SPLITS: &str = "logmill_source_waiting_splits";
pub const SPLITS_OPENED: &str = "logmill_source_splits_opened_total";
pub const SPLIT_FAILURES: &str = "logmill_source_split_failures_total";
pub const LEDGER_ROWS: &str = "logmill_ledger_rows_total";
pub const DEAD_LETTERS: &str = "logmill_dead_letters_total";
pub const SINK_WRITE: &str = "logmill_sink_write_seconds";
pub const SINK_PREPARE: &str = "logmill_sink_prepare_seconds";
pub const SINK_COMMIT: &str = "logmill_sink_commit_seconds";
pub const EPOCHS: &str = "logmill_epochs_committed_total";
pub const EPOCH_SECONDS: &str = "logmill_epoch_duration_seconds";
pub const EPOCH_INTERVAL: &str = "logmill_epoch_interval_seconds";
pub const CHECKPOINT_SECONDS: &str = "logmill_checkpoint_write_seconds";
pub const LAST_COMMIT: &str = "logmill_last_commit_timestamp_seconds";
pub const LAST_BARRIER: &str = "logmill_last_barrier_timestamp_seconds";
pub const LINEAGES: &str = "logmill_lineages";
pub const RECOVERIES: &str = "logmill_recoveries_total";
pub const RETRIES: &str = "logmill_retries_total";
pub const FAILURES: &str = "logmill_failures_total";
pub const LEASE_LOSSES: &str = "logmill_lease_losses_total";
pub const WATERMARK: &str = "logmill_step_watermark_timestamp_seconds";
pub const OPEN_WINDOWS: &str = "logmill_step_open_windows";
pub const OPEN_RECORDS: &str = "logmill_step_open_records";
pub const LATE_RECORDS: &str = "logmill_step_late_records_total";
pub const MISSED_WINDOWS: &str = "logmill_window_missed_total";
pub const BUDGET_USED: &str = "logmill_budget_used_bytes";
pub const BUDGET_LIMIT: &str = "logmill_budget_limit_bytes";
pub const MEMORY_LIMIT: &str = "logmill_memory_limit_bytes";
pub const MEMORY_SHARE: &str = "logmill_memory_share_bytes";
pub const MEMORY_HELD: &str = "logmill_memory_held_bytes";
pub const SCHEDULE_RUNS: &str = "logmill_schedule_runs_total";
pub const SCHEDULE_MISSED: &str = "logmill_schedule_missed_total";
pub const SCHEDULE_NEXT: &str = "logmill_schedule_next_timestamp_seconds";
pub const SCHEDULE_SUCCESS: &str = "logmill_schedule_last_success_timestamp_seconds";
pub const SCHEDULE_RUNNING: &str = "logmill_schedule_running";

const PIPELINE: &[&str] = &["pipeline"];
const SOURCE: &[&str] = &["pipeline", "source", "connector"];
const SPLIT: &[&str] = &["pipeline", "source", "split"];
const STEP: &[&str] = &["pipeline", "step"];
const SINK: &[&str] = &["pipeline", "sink", "connector"];

/// Every metric of ours, in the order of the page.
pub const METRICS: &[Metric] = &[
    counter(PROCESSED, PIPELINE, "Records whose epoch is committed in every sink."),
    counter(
        ERRORS,
        PIPELINE,
        "Records of committed epochs that a source, a step or a sink refused: dead letters.",
    ),
    histogram(
        LATENCY,
        PIPELINE,
        "Time from the reading of a batch of records to its commit in every sink.",
    ),
    counter(
        READ_RECORDS,
        SOURCE,
        "Records that were read, again after a failure too; committed or not.",
    ),
    counter(
        READ_BYTES,
        SOURCE,
        "Bytes of the source that were read, again after a failure too; committed or not.",
    ),
    counter(
        SKIPPED_BYTES,
        SOURCE,
        "Those of them that hold no record where one should stand: the NULs of a file that was \
         truncated under its writer.",
    ),
    counter(SOURCE_RECORDS, SOURCE, "Records whose epoch is committed, by source."),
    counter(SPLIT_RECORDS, SPLIT, "Records whose epoch is committed, by split."),
    gauge(SPLIT_POSITION, SPLIT, "The next record of a split, as the last barrier saw it."),
    Metric {
        origin: Origin::RecordLag,
        ..gauge(SPLIT_LAG_RECORDS, SPLIT, "Records between the position of a split and its end.")
    },
    Metric {
        origin: Origin::ByteLag,
        ..gauge(SPLIT_LAG_BYTES, SPLIT, "Bytes, as stored, between the position and the end.")
    },
    gauge(
        FAILED_SPLITS,
        SOURCE,
        "Splits that cannot be read now and are tried again soon; the others are read.",
    ),
    gauge(
        BROKEN_SPLITS,
        SOURCE,
        "Splits, and files that should be one, that cannot be read until somebody does something.",
    ),
    gauge(
        WAITING_SPLITS,
        SOURCE,
        "Splits of which all was read, and whose end waits for something to be written: a line \
         without end, NULs, an archive that is not complete.",
    ),
    counter(
        SPLITS_OPENED,
        SOURCE,
        "Splits that were opened, each time; one that was read and did not change is not.",
    ),
    counter(
        SPLIT_FAILURES,
        SOURCE,
        "Readers that failed and were closed alone, each time that a split was tried.",
    ),
    counter(
        LEDGER_ROWS,
        &["pipeline", "sink", "column"],
        "The ledger: rows of committed epochs by sink, and by what became of them.",
    ),
    counter(
        DEAD_LETTERS,
        &["pipeline", "refuser", "kind"],
        "Dead letters of committed epochs by who refused them: a source, a step or a sink.",
    ),
    histogram(SINK_WRITE, SINK, "Time that a sink takes for a batch of rows."),
    histogram(SINK_PREPARE, SINK, "Time until a sink has everything of an epoch, undecided."),
    histogram(SINK_COMMIT, SINK, "Time until a sink shows a decided epoch."),
    counter(EPOCHS, PIPELINE, "Epochs that are committed in every sink."),
    histogram(EPOCH_SECONDS, PIPELINE, "Time from the start of an epoch to its commit."),
    gauge(EPOCH_INTERVAL, PIPELINE, "The setting `epoch.interval`."),
    histogram(CHECKPOINT_SECONDS, PIPELINE, "Time until a checkpoint is durable."),
    gauge(LAST_COMMIT, PIPELINE, "When an epoch was committed last; absent before the first."),
    gauge(
        LAST_BARRIER,
        PIPELINE,
        "When a lineage last had nothing undelivered of what it had read before; with several \
         lineages, the one that is furthest behind.",
    ),
    gauge(LINEAGES, PIPELINE, "Lineages that this process runs."),
    counter(RECOVERIES, PIPELINE, "Starts of a lineage from its newest checkpoint but the first."),
    counter(RETRIES, PIPELINE, "Failures after which the run tried again."),
    counter(
        FAILURES,
        &["pipeline", "node"],
        "Failures by the source, step or sink in which they arose; `pipeline` for those of the \
         checkpoint store.",
    ),
    counter(LEASE_LOSSES, PIPELINE, "Lineages that another process took from this one."),
    gauge(
        WATERMARK,
        STEP,
        "How far the event time of a step has come, as the newest committed epoch has it; absent \
         before the first.",
    ),
    gauge(OPEN_WINDOWS, STEP, "Windows of a step that are open."),
    gauge(OPEN_RECORDS, STEP, "Rows in them, once for each window."),
    counter(
        LATE_RECORDS,
        STEP,
        "Rows of committed epochs that came when all of their windows were closed.",
    ),
    counter(
        MISSED_WINDOWS,
        STEP,
        "Closed windows that rows of committed epochs missed, whose other windows were open.",
    ),
    gauge(BUDGET_USED, PIPELINE, "Bytes of batches under way."),
    gauge(BUDGET_LIMIT, PIPELINE, "Bytes of batches that may be under way; then sources wait."),
    gauge(MEMORY_LIMIT, PIPELINE, "The setting `memory.limit`."),
    gauge(
        MEMORY_SHARE,
        &["pipeline", "share"],
        "What a part of the pipeline may hold of that: `flow` (batches under way), `state` (of \
         steps), `writers`, `fetch` (read ahead), `clients` (on its way to sinks).",
    ),
    gauge(MEMORY_HELD, &["pipeline", "share"], "What it holds, about."),
    gauge(BUILD, &["version"], "1, with the version of the program."),
    scheduled(counter(
        SCHEDULE_RUNS,
        &["pipeline", "outcome"],
        "Scheduled runs that are over: `ok`, `failed` after all attempts, or `stopped`.",
    )),
    scheduled(counter(SCHEDULE_MISSED, PIPELINE, "Times at which no run began, and none will.")),
    scheduled(gauge(SCHEDULE_NEXT, PIPELINE, "When the next run is due.")),
    scheduled(gauge(SCHEDULE_SUCCESS, PIPELINE, "When a run last ended well.")),
    scheduled(gauge(SCHEDULE_RUNNING, PIPELINE, "1 while a scheduled run goes on.")),
];

/// What is told of the process, under Prometheus' own names.
pub const PROCESS: &[(&str, Form, &str)] = &[
    ("process_cpu_seconds_total", Form::Counter, "Time on processors, in whole seconds."),
    ("process_max_fds", Form::Gauge, "Files that may be open at once."),
    ("process_open_fds", Form::Gauge, "Files that are open."),
    ("process_resident_memory_bytes", Form::Gauge, "Memory in use (RSS)."),
    ("process_start_time_seconds", Form::Gauge, "When the process started."),
    ("process_threads", Form::Gauge, "Threads."),
    ("process_virtual_memory_bytes", Form::Gauge, "Address space in use."),
    ("process_virtual_memory_max_bytes", Form::Gauge, "Address space that may be used."),
];

#[cfg(test)]
mod tests {
    use super::{Form, METRICS};

    #[test]
    fn names_follow_the_practice_of_prometheus() {
        for metric in METRICS {
            let name = metric.name;
            let is_counter = metric.form == Form::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}: counters end in _total");
            let unit = [
                "_seconds",
                "_bytes",
                "_records",
                "_info",
                "_position",
                "_lineages",
                "_splits",
                "_windows",
            ];
            let known = unit.iter().any(|unit| name.ends_with(unit)) || name.ends_with("_running");
            assert!(is_counter || known, "{name} has no unit");
            assert!(name.starts_with("logmill_") || name.starts_with("log_"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }
}
