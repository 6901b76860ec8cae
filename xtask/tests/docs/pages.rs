//! Makes the pages.

use std::fmt::Write;

use contract::failpoint::{Failpoint, Passed};
use contract::spec::{Answer, Change, Connector};
use plan::table::{self, Setting};
use schemars::Schema;

const INTRODUCTION: &str = "\
# Settings

<!-- Made by `cargo xtask docs` from the types. Change their comments instead. -->

Everything that a pipeline file may say. A *size* is a whole number of bytes or one with a unit
(`4096`, `256MiB`, `10MB`); a *duration* has a unit (`200ms`, `10s`, `5m`, `1h`, `30d`). A value may
hold `${VAR}`, `${VAR:default}` (which a variable that is empty takes, too) or `${secret:path}`; `$${`
stands for `${` itself. A key that is not listed here is an error.

Each source also takes `lineages`: whether each of its splits is a lineage of its own (`split`: what
`kafka` does where nothing is said) or all share one (`one`: all else, and `kafka` on request), decided
by the first start for good. Each source and sink takes `enabled` (default `true`); each transform and
sink takes `input`, the name of what it reads, `NODE.OUTPUT` where that has several outputs, or a list of such names. A
`sql` transform names its input in the query instead.
";

/// `docs/settings.md`: every setting of everything, from its doc comment.
pub fn settings() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, "## The pipeline");
    let whole = plan::schema::settings();
    let rows = whole.iter().flat_map(|(key, schema)| {
        table::settings(schema).into_iter().map(move |row| match key.is_empty() {
            true => row,
            false => Setting { name: format!("{key}.{}", row.name), ..row },
        })
    });
    write_table(&mut page, rows.collect());
    section(&mut page, "## Connectors");
    for connector in registry::connectors() {
        write_connector(&mut page, *connector);
    }
    section(&mut page, "## Transforms");
    for spec in engine::specs() {
        section(&mut page, &format!("### `{}`", spec.name));
        paragraph(&mut page, spec.summary);
        write_table(&mut page, table::settings(&(spec.config_schema)()));
        write_example(&mut page, spec.example);
    }
    page
}

/// A page with a table between the marks of its place; none without these marks.
pub fn with_table(page: &str, name: &str, table: &str) -> Option<String> {
    let begin = format!("<!-- {name}, made of ");
    let (before, rest) = page.split_once(&begin)?;
    let (mark, rest) = rest.split_once('\n')?;
    let end = format!("<!-- end of {name} -->");
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{mark}\n{table}{end}{after}"))
}

/// What a sink does when somebody else changes its destination.
pub fn changes(changes: &[Change]) -> String {
    let mut table =
        "| what happens to the destination | what the sink does |\n|---|---|\n".to_owned();
    for Change { when, then, .. } in changes {
        let _ = writeln!(table, "| {when} | {then} |");
    }
    table
}

/// What each destination answers to rows, whose matter that is, and what becomes of it.
pub fn answers() -> String {
    let mut table = "| sink | the destination answers | about | what the sink does | proved by |\n\
                     |---|---|---|---|---|\n"
        .to_owned();
    for connector in registry::connectors() {
        let spec = connector.spec();
        for answer in spec.sink.as_ref().map_or(&[][..], |sink| sink.answers) {
            let Answer { answer, about, then, proofs } = answer;
            let (name, word) = (spec.name, about.word());
            let proofs: Vec<_> = proofs.iter().map(|proof| format!("`{proof}`")).collect();
            let proofs = proofs.join(", ");
            let _ = writeln!(table, "| `{name}` | {answer} | {word} | {then} | {proofs} |");
        }
    }
    table
}

/// Where the program is killed, by whom the point is passed, and what is promised.
pub fn points() -> String {
    let connectors = registry::connectors().iter();
    let own = connectors.flat_map(|connector| connector.spec().failpoints);
    let mut table =
        "| point | passed by | what has happened | after a kill there |\n|---|---|---|---|\n"
            .to_owned();
    for Failpoint { name, passed, before, after } in runtime::failpoints().chain(own) {
        let passed = match passed {
            Passed::Epoch => "each epoch",
            Passed::Start => "each start",
            Passed::First => "the first start",
            Passed::Lineages => "the first start, where splits are lineages",
            Passed::Recovery => "a start after a crash",
            Passed::Replay => "a start after a crash that lost what was prepared",
            Passed::Apart => "few",
        };
        let _ = writeln!(table, "| `{name}` | {passed} | {before} | {after} |");
    }
    table
}

fn write_connector(page: &mut String, connector: &dyn Connector) {
    let spec = connector.spec();
    section(page, &format!("### `{}`", spec.name));
    paragraph(page, spec.summary);
    if let Some(schema) = spec.source {
        section(page, &format!("#### `{}` as a source", spec.name));
        write_table(page, table::settings(&schema()));
    }
    if let Some(sink) = &spec.sink {
        section(page, &format!("#### `{}` as a sink", spec.name));
        paragraph(page, &format!("Promise: {}.", sink.promise.sentence.trim_end_matches('.')));
        write_table(page, table::settings(&(sink.config_schema)()));
    }
    write_example(page, spec.example);
}

/// `docs/pipeline.schema.json`: the JSON Schema for editors.
pub fn pipeline_schema() -> String {
    let mut sources = Vec::new();
    let mut sinks = Vec::new();
    for connector in registry::connectors() {
        let spec = connector.spec();
        sources.extend(spec.source.map(|schema| (spec.name, schema())));
        sinks.extend(spec.sink.as_ref().map(|sink| (spec.name, (sink.config_schema)())));
    }
    let transforms: Vec<(&str, Schema)> =
        engine::specs().iter().map(|spec| (spec.name, (spec.config_schema)())).collect();
    let schema = plan::schema::pipeline_schema(&sources, &transforms, &sinks);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

fn section(page: &mut String, heading: &str) {
    write!(page, "\n{heading}\n").expect("writing to a string cannot fail");
}

fn paragraph(page: &mut String, text: &str) {
    write!(page, "\n{text}\n").expect("writing to a string cannot fail");
}

fn write_example(page: &mut String, example: &str) {
    write!(page, "\n```yaml\n{}\n```\n", example.trim_end()).expect("as above");
}

fn write_table(page: &mut String, rows: Vec<Setting>) {
    if rows.is_empty() {
        return paragraph(page, "No settings of its own.");
    }
    page.push_str("\n| setting | value | default | meaning |\n|---|---|---|---|\n");
    for row in rows {
        let default = match (&row.default, row.required) {
            (_, true) => "required".to_owned(),
            (Some(default), false) => format!("`{default}`"),
            (None, false) => String::new(),
        };
        let cells = [format!("`{}`", row.name), row.kind, default, row.meaning];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(page, "| {} |", cells.join(" | ")).expect("as above");
    }
}
