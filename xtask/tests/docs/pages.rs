//! Makes the pages.

use std::fmt::Write;

use contract::spec::{Change, Connector};
use plan::table::{self, Setting};
use schemars::Schema;

const INTRODUCTION: &str = "\
# Settings

<!-- Made by `cargo xtask docs` from the types. Change their comments instead. -->

Everything that a pipeline file may say. A *size* is a whole number of bytes or one with a unit
(`4096`, `256MiB`, `10MB`); a *duration* has a unit (`200ms`, `10s`, `5m`, `1h`, `30d`). A value may
hold `${VAR}`, `${VAR:default}` (which a variable that is empty takes, too) or `${secret:path}`; `$${`
stands for `${` itself. A key that is not listed here is an error.

Each source also takes `lineages`: whether each of its splits is a lineage of its own (`split`: `kafka`) or all share
one (`one`: all else), decided by the first start for good. Each source and sink takes `enabled` (default `true`); each
transform and sink takes `input`,
the name of what it reads, `NODE.OUTPUT` where that has several outputs, or a list of such names. A
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

/// The page of a connector with its table of changes between the marks of its place; none without
/// these marks.
pub fn with_changes(readme: &str, changes: &[Change]) -> Option<String> {
    let (before, rest) = readme.split_once("<!-- changes, made of ")?;
    let (mark, rest) = rest.split_once('\n')?;
    let (_, after) = rest.split_once("<!-- end of changes -->")?;
    let mut page = format!("{before}<!-- changes, made of {mark}\n");
    page.push_str("| what happens to the destination | what the sink does |\n|---|---|\n");
    for Change { when, then } in changes {
        let _ = writeln!(page, "| {when} | {then} |");
    }
    Some(format!("{page}<!-- end of changes -->{after}"))
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
