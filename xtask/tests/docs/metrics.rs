//! Makes `docs/metrics.md`.

use std::fmt::Write;

use runtime::metrics::{METRICS, Metric, Origin, PROCESS};

const INTRODUCTION: &str = "\
# Metrics

<!-- Made by `cargo xtask docs` from crates/runtime/src/metrics/catalog.rs. -->

`logmill run --metrics 127.0.0.1:8001` answers `GET /metrics` in the text format of Prometheus,
`GET /healthz` while the process lives, and `GET /readyz` with 200 once every lineage reads (503 with
the reason before, and while one recovers; its body says `degraded` while splits cannot be read and
the others are). Port 0 takes a free port; the address stands on stderr.
An address that others can reach needs `--metrics-open`: everybody who reaches it may read. `logmill
serve` answers the same paths under its own address, with its token. Of pipelines that other processes run it
has `log_records_processed_total`, `log_records_errors_total` and `logmill_ledger_rows_total`, read from their
ledgers since their beginning and marked `from=\"ledger\"`: whoever asks both leaves these out.

Counters of records follow the ledger: they grow when an epoch is committed in every sink, so a
record counts once however often it had to be read; an epoch that a start finishes after a crash
counts then. They begin at zero with the process. What was read, right or wrong, committed or not, is
`logmill_source_read_records_total`. Latency is observed once for a batch of records; batches within
a thousandth of `epoch.interval` count as one.

The first 200 splits of a pipeline have series of their own; all others share the split `other`. Splits of which their
source says that they belong together (a family) share one under its name. Whoever is not there any more gives its
place and its count to `other`, and begins at 0 if it comes back: the sum of all never falls.
Names in labels are those of the pipeline file.

A pipeline file may show them under names that boards already use; what several pipelines of a process give under one
name with the same labels is added up, and series of other pipelines are left out:

    metrics:
      uploads_total{status=\"ok\"}: sum(logmill_ledger_rows_total{column=\"delivered\"})
      thousands_by_sink: sum by (sink) (logmill_ledger_rows_total) / 1000

[blueprints/web-logs](../blueprints/web-logs) has a
scrape configuration, alert rules and a Grafana dashboard.
";

pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let parts = [
        ("Of every run", Origin::Run),
        ("Of sources that know what is left", Origin::RecordLag),
        ("Of pipelines with a schedule, under `serve`", Origin::Schedule),
    ];
    for (title, origin) in parts {
        let belongs = |metric: &&Metric| match metric.origin {
            Origin::ByteLag => origin == Origin::RecordLag,
            other => other == origin,
        };
        heading(&mut page, title);
        METRICS.iter().filter(belongs).for_each(|metric| {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            row(&mut page, metric.name, metric.form.word(), &labels.join(", "), metric.help);
        });
    }
    heading(&mut page, "Of the process");
    for (name, form, help) in PROCESS {
        row(&mut page, name, form.word(), "", help);
    }
    heading(&mut page, "Of requests, under `serve`");
    let name = "logmill_http_request_duration_seconds";
    row(&mut page, name, "histogram", "`route`, `status`", "Time until the head of an answer.");
    page
}

fn heading(page: &mut String, title: &str) {
    write!(page, "\n## {title}\n\n| metric | form | labels | meaning |\n|---|---|---|---|\n")
        .expect("writing to a string cannot fail");
}

fn row(page: &mut String, name: &str, form: &str, labels: &str, help: &str) {
    writeln!(page, "| `{name}` | {form} | {labels} | {help} |").expect("as above");
}
