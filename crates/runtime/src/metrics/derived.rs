//! Metrics under names of one's own, made of the text that all others are shown as.
//!
//! They are asked for as seldom as the text is; nothing is counted twice while a pipeline runs.

use std::collections::BTreeMap;
use std::fmt::Write;

use contract::{Error, Result, Section};
use plan::{Expression, Measure, Operator, Selector};

use super::catalog::{Form, METRICS, PROCESS};
use crate::graph::Pipeline;

/// The label that every series of a pipeline has.
const PIPELINE: &str = "pipeline";

/// The metrics that a pipeline file names.
#[derive(Clone, Debug)]
pub struct Own {
    pipeline: String,
    measures: Vec<Measure>,
}

impl Own {
    /// Those of a pipeline.
    pub fn of(pipeline: &Pipeline) -> Self {
        let (pipeline, measures) = (pipeline.name.clone(), pipeline.settings.metrics.clone());
        Self { pipeline, measures }
    }
}

type Labels = BTreeMap<String, String>;
type Vector = BTreeMap<Labels, f64>;

/// Series by name.
type Series = BTreeMap<String, Vec<(Labels, f64)>>;

/// Refuses expressions over series that do not exist, and names that are ours. Called when a
/// pipeline file is read.
///
/// # Errors
/// Config, with the place in the file.
pub fn check(measures: &[Measure]) -> Result<()> {
    for measure in measures {
        let Measure { name, value, place, .. } = measure;
        let wrong = |error: Error| error.at(place).field(format!("metrics.{name}"));
        if form_of(name).is_some() {
            return Err(wrong(Error::config(format!("{name:?} is a metric already")))
                .hint("choose another name"));
        }
        let has_series = |name: &str| form_of(name).is_some_and(|form| form != Form::Histogram);
        let unknown = names(value).into_iter().find(|name| !has_series(name));
        if let Some(unknown) = unknown {
            let known = METRICS.iter().map(|metric| metric.name);
            return Err(wrong(
                Error::config(format!("there is no metric {unknown:?}"))
                    .hint(Section::did_you_mean(unknown, known)),
            ));
        }
    }
    Ok(())
}

/// The metrics of pipelines under their own names, in Prometheus' text format, out of all others.
/// What several give under one name with the same labels is added up.
pub fn derive(text: &str, own: &[Own]) -> String {
    let mut made: BTreeMap<&str, (bool, Vector)> = BTreeMap::new();
    if own.iter().all(|own| own.measures.is_empty()) {
        return String::new();
    }
    let series = read(text);
    for Own { pipeline, measures } in own {
        for Measure { name, labels, value, .. } in measures {
            let grows = only_grows(value);
            let (is_counter, whole) = made.entry(name).or_insert_with(|| (grows, Vector::new()));
            *is_counter &= grows;
            for (mut own, value) in evaluate(value, &series, pipeline) {
                own.extend(labels.iter().cloned());
                *whole.entry(own).or_insert(0.0) += value;
            }
        }
    }
    let mut shown = String::new();
    for (name, (is_counter, vector)) in made {
        let form = if is_counter { Form::Counter } else { Form::Gauge };
        // Writing to a string cannot fail.
        let _ = writeln!(shown, "# TYPE {name} {}", form.word());
        for (labels, value) in vector {
            let labels = labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
            let labels = labels.collect::<Vec<_>>().join(",");
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(shown, "{name}{labels} {value}");
        }
    }
    shown
}

/// How a series behaves; none if there is no such series.
fn form_of(name: &str) -> Option<Form> {
    let of_process = PROCESS.iter().find(|(known, ..)| *known == name).map(|(_, form, _)| *form);
    let own = METRICS.iter().find(|metric| metric.name == name).map(|metric| metric.form);
    let part = || {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part))?;
        let is_whole = |metric: &&super::Metric| metric.name == whole;
        METRICS.iter().find(is_whole).filter(|metric| metric.form == Form::Histogram)
    };
    own.or(of_process).or_else(|| part().map(|_| Form::Counter))
}

fn names(value: &Expression) -> Vec<&str> {
    match value {
        Expression::Number(_) => Vec::new(),
        Expression::Series(selector) => vec![&selector.name],
        Expression::Sum { of, .. } => names(of),
        Expression::Two(_, left, right) => [names(left), names(right)].concat(),
    }
}

/// Whether it can only grow, as a counter does.
fn only_grows(value: &Expression) -> bool {
    use Expression::{Number, Two};
    match value {
        Number(_) => false,
        Expression::Series(selector) => form_of(&selector.name) == Some(Form::Counter),
        Expression::Sum { of, .. } => only_grows(of),
        Two(Operator::Add, left, right) => only_grows(left) && only_grows(right),
        Two(Operator::Multiply, left, right) => match (&**left, &**right) {
            (Number(_), other) | (other, Number(_)) => only_grows(other),
            _ => false,
        },
        Two(Operator::Divide, left, right) => matches!(**right, Number(_)) && only_grows(left),
        Two(Operator::Subtract, ..) => false,
    }
}

fn evaluate(value: &Expression, series: &Series, pipeline: &str) -> Vector {
    match value {
        Expression::Number(number) => Vector::from([(Labels::new(), *number)]),
        Expression::Series(selector) => select(selector, series, pipeline),
        Expression::Sum { by, of } => {
            let mut sum = Vector::new();
            if by.is_empty() {
                // What was never counted is nothing, and not absent.
                sum.insert(Labels::new(), 0.0);
            }
            for (mut labels, value) in evaluate(of, series, pipeline) {
                labels.retain(|label, _| by.contains(label));
                *sum.entry(labels).or_insert(0.0) += value;
            }
            sum
        }
        Expression::Two(operator, left, right) => {
            let (left, right) =
                (evaluate(left, series, pipeline), evaluate(right, series, pipeline));
            together(*operator, &left, &right)
        }
    }
}

/// What has no labels goes with each series of the other side, else those of the same labels.
fn together(operator: Operator, left: &Vector, right: &Vector) -> Vector {
    let apply = |left: f64, right: f64| match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
    };
    let alone = |vector: &Vector| match vector.len() {
        1 => vector.get(&Labels::new()).copied(),
        _ => None,
    };
    match (alone(left), alone(right)) {
        (_, Some(right)) => {
            left.iter().map(|(labels, left)| (labels.clone(), apply(*left, right))).collect()
        }
        (Some(left), None) => {
            right.iter().map(|(labels, right)| (labels.clone(), apply(left, *right))).collect()
        }
        (None, None) => left
            .iter()
            .filter_map(|(labels, left)| Some((labels.clone(), apply(*left, *right.get(labels)?))))
            .collect(),
    }
}

fn select(selector: &Selector, series: &Series, pipeline: &str) -> Vector {
    let named = series.get(&selector.name).into_iter().flatten();
    let chosen = named.filter(|(labels, _)| {
        let value = |label: &str| labels.get(label).map(String::as_str);
        value(PIPELINE).is_none_or(|of| of == pipeline)
            && selector.filters.iter().all(|filter| {
                (value(&filter.label).unwrap_or_default() == filter.value) == filter.equal
            })
    });
    chosen.cloned().collect()
}

/// Reads the text format. The values of labels stay as they are written, escapes included.
fn read(text: &str) -> Series {
    let mut series = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, labels, value)) = sample(line) {
            series.entry(name.to_owned()).or_default().push((labels, value));
        }
    }
    series
}

fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, value) = rest.trim_start_matches(',').split_once("=\"")?;
            let mut escaped = false;
            let end = value.find(|letter: char| {
                let ends = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                ends
            })?;
            labels.insert(label.to_owned(), value[..end].to_owned());
            rest = &value[end + 1..];
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP logmill_ledger_rows_total Rows.
# TYPE logmill_ledger_rows_total counter
logmill_ledger_rows_total{pipeline=\"p\",sink=\"a\",column=\"delivered\"} 3
logmill_ledger_rows_total{pipeline=\"p\",sink=\"b\",column=\"delivered\"} 4
logmill_ledger_rows_total{pipeline=\"p\",sink=\"a\",column=\"lost\"} 1
logmill_ledger_rows_total{pipeline=\"q\",sink=\"a\",column=\"delivered\"} 100
logmill_memory_limit_bytes{pipeline=\"p\"} 10
process_threads 5
odd{path=\"a\\\"} 1\"} 7
";

    fn measures(yaml: &str) -> Vec<Measure> {
        let file = format!("name: p\nsources: {{ s: {{ type: file }} }}\nmetrics:\n{yaml}");
        let vocabulary = plan::Vocabulary {
            sources: &["file"],
            transforms: &[],
            sinks: &["lake"],
            inputs: &|_, _| Ok(None),
            environment: &|_| None,
            secrets: &|_| Ok(String::new()),
        };
        plan::read(&file, "p.yaml", &vocabulary).expect("a plan").settings.metrics
    }

    fn shown(yaml: &str) -> String {
        let own = |pipeline: &str| Own { pipeline: pipeline.to_owned(), measures: measures(yaml) };
        derive(TEXT, &[own("p")])
    }

    #[test]
    fn series_are_renamed_filtered_and_summed() {
        assert_eq!(
            shown("  out: logmill_ledger_rows_total{column=\"lost\"}\n"),
            "# TYPE out counter\nout{column=\"lost\",pipeline=\"p\",sink=\"a\"} 1\n"
        );
        assert_eq!(
            shown(
                "  up{state=\"ok\"}: sum(logmill_ledger_rows_total{column!=\"lost\"}) * 2\n  \
                 up{state=\"bad\"}: sum(logmill_ledger_rows_total{column=\"lost\"})\n"
            ),
            "# TYPE up counter\nup{state=\"bad\"} 1\nup{state=\"ok\"} 14\n"
        );
        assert_eq!(
            shown("  by_sink: sum by (sink) (logmill_ledger_rows_total) - process_threads\n"),
            "# TYPE by_sink gauge\nby_sink{sink=\"a\"} -1\nby_sink{sink=\"b\"} -1\n"
        );
        assert_eq!(
            shown("  none: sum(logmill_source_read_records_total)\n"),
            "# TYPE none counter\nnone 0\n"
        );
        assert_eq!(
            shown("  half: logmill_memory_limit_bytes / 4\n").lines().last(),
            Some("half{pipeline=\"p\"} 2.5")
        );
        assert_eq!(read(TEXT)["odd"][0].0["path"], "a\\\"} 1");
    }

    #[test]
    fn pipelines_with_one_name_are_added_up() {
        let measures = measures("  all: sum(logmill_ledger_rows_total)\n");
        let own = ["p", "q"]
            .map(|pipeline| Own { pipeline: pipeline.to_owned(), measures: measures.clone() });
        assert_eq!(derive(TEXT, &own), "# TYPE all counter\nall 108\n");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let said = |yaml: &str| check(&measures(yaml)).err().map(|error| error.to_string());
        assert_eq!(said("  a: sum(log_processing_latency_seconds_count)\n"), None);
        let whole = said("  a: log_processing_latency_seconds\n");
        assert!(whole.is_some(), "a histogram has series of other names");
        assert_eq!(said("  a: nothing\n").as_deref(), Some("there is no metric \"nothing\""));
        let own = said("  process_threads: log_records_errors_total\n");
        assert_eq!(own.as_deref(), Some("\"process_threads\" is a metric already"));
    }
}
