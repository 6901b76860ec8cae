//! `parse`: replaces a column of lines by the columns that a format makes of them.
//!
//! The formats themselves are the crate `formats`; here is what a step adds: the other columns
//! come along, and a line that is refused becomes a dead letter with its bytes.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::{filter, filter_record_batch, is_not_null};
use arrow::datatypes::{Field, SchemaRef};
use bytes::Bytes;
use contract::record::{LOSSY, MESSAGE, Numbers, is_origin};
use contract::transform::{Means, Output, Port, Step, Transform};
use contract::{Error, Result, Section};
use formats::{Format, FormatConfig, Parser, Refused, parser};
use schemars::{Schema, schema_for};
use serde_json::json;

use crate::columns::{as_text, assemble, fields, input_schema, text_column, unique};
use crate::steps::{Site, TransformSpec};

/// The settings that are the step's own and not the format's.
const FIELD: &str = "field";
const KEEP: &str = "keep";
const RENAME: &str = "rename";
/// What stands before the name of a column that is the origin's, where a format was found out.
const FOUND_PREFIX: &str = "log";

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "parse",
    summary: "Turns lines into typed columns.",
    config_schema,
    example: "parsed: { type: parse, input: access, format: combined }\n",
};

fn config_schema() -> Schema {
    let mut schema = schema_for!(FormatConfig);
    let field = json!({
        "description": "The column of lines. The columns of the format take its place.",
        "type": "string",
        "default": MESSAGE,
    });
    let keep = json!({
        "description": "Whether the column of lines stays, before the columns of the format.",
        "type": "boolean",
        "default": false,
    });
    let rename = json!({
        "description": "Other names for columns of the format: `{ _split: log_split }`. The names \
            `_split`, `_position`, `_ordinal` and `_epoch` belong to the origin of a row, so that \
            a field of a log that is called so needs another; where the format was found out it \
            gets `log` before it (`log_split`, and `log_lossy` for `_lossy`).",
        "type": "object",
        "additionalProperties": { "type": "string" },
        "default": {},
    });
    let properties = schema.ensure_object().get_mut("properties");
    if let Some(properties) = properties.and_then(|properties| properties.as_object_mut()) {
        properties.insert(FIELD.to_owned(), field);
        properties.insert(KEEP.to_owned(), keep);
        properties.insert(RENAME.to_owned(), rename);
    }
    schema
}

/// Whether the step is told to find out its format from the first lines.
///
/// # Errors
/// Config, with the place in the file: it is told so, and another setting does not go with it.
pub fn is_undecided(section: &Section) -> Result<bool> {
    let is_auto = |key| section.get(key).and_then(Section::as_text) == Some(Format::Auto.name());
    if !is_auto("format") {
        return Ok(false);
    }
    let own = ["format", KEEP, RENAME];
    let foreign = section.entries().iter().find(|entry| !own.contains(&&*entry.key));
    match foreign {
        None => Ok(true),
        Some(entry) => {
            let message = format!("format \"auto\" does not go with {:?}", &*entry.key);
            Err(Error::config(message)
                .at(&entry.place)
                .field(&*entry.key)
                .hint("name the format, as `logmill connectors parse` lists them"))
        }
    }
}

/// Makes a step that was told to find out its format, once it is decided.
///
/// # Errors
/// As for [`crate::step`].
pub fn decided(
    name: &str,
    section: &Section,
    inputs: &[(String, SchemaRef)],
    format: &FormatConfig,
) -> Result<Arc<dyn Step>> {
    let site = Site { name, section, inputs };
    let taken = match format.inner {
        None => format.format.name().to_owned(),
        Some(inner) => format!("{} around {}", format.format.name(), inner.name()),
    };
    let step = build(&site, format, Some(taken.into()));
    step.map_err(|error| error.at(section.place()))
}

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    let config: FormatConfig = site.section.without(&[FIELD, KEEP, RENAME]).read()?;
    build(site, &config, None)
}

fn build(site: &Site<'_>, config: &FormatConfig, taken: Option<Arc<str>>) -> Result<Arc<dyn Step>> {
    let parser = parser(config)?;
    let setting = site.section.get(FIELD);
    let place = |error: Error| match setting {
        Some(setting) => error.at(setting.place()).field(FIELD),
        None => error.field(FIELD),
    };
    let name = match setting {
        Some(setting) => setting.read::<String>().map_err(place)?,
        None => MESSAGE.to_owned(),
    };
    let input = input_schema(site)?;
    let field = text_column(&input, &name).map_err(place)?;
    let mut columns = fields(&input);
    let keep = site.section.get(KEEP).map(Section::read).transpose()?.unwrap_or(false);
    let replaced = if keep { field + 1..field + 1 } else { field..field + 1 };
    columns.splice(replaced.clone(), named(site, fields(&parser.schema()), taken.is_some())?);
    let schema = unique(columns).map_err(|error| {
        error.hint(
            "name the column of the format otherwise with `rename`, or that of the input with a \
             `sql` step before this one",
        )
    })?;
    let lossy = input.index_of(LOSSY).ok();
    let lines = Lines { field, replaced, lossy, is_original: name == MESSAGE };
    Ok(Arc::new(Parse { ports: vec![Port { name: "".into(), schema }], parser, lines, taken }))
}

/// The columns of a format under the names that the file gives them.
///
/// # Errors
/// Config: the format has no such column, or one would have a name of the origin's.
fn named(site: &Site<'_>, mut columns: Vec<Field>, is_found: bool) -> Result<Vec<Field>> {
    let setting = site.section.get(RENAME);
    for entry in setting.map(Section::entries).unwrap_or_default() {
        let place = |error: Error| error.at(entry.value.place()).field(RENAME);
        let name: String = entry.value.read().map_err(place)?;
        let wanted = columns.iter().position(|field| **field.name() == *entry.key);
        let at = wanted.ok_or_else(|| {
            let names = columns.iter().map(|field| field.name().as_str());
            place(Error::config(format!("the format has no column {:?}", &*entry.key)))
                .hint(Section::did_you_mean(&entry.key, names))
        })?;
        columns[at].set_name(name);
    }
    let is_ours = |name: &str| is_origin(name) || (is_found && name == LOSSY);
    for column in columns.iter_mut().filter(|column| is_ours(column.name())) {
        let name = column.name().clone();
        if !is_found {
            let message = format!("column {name:?} is the origin of a row");
            let way_out = format!("`rename: {{ {name}: {FOUND_PREFIX}{name} }}`");
            return Err(Error::config(message)
                .field(RENAME)
                .hint(format!("give the field of the log another name: {way_out}")));
        }
        column.set_name(format!("{FOUND_PREFIX}{name}"));
    }
    Ok(columns)
}

/// Where the lines stand in a batch.
#[derive(Clone)]
struct Lines {
    field: usize,
    /// The columns whose place those of the format take.
    replaced: Range<usize>,
    /// The column that says whether bad UTF-8 was replaced.
    lossy: Option<usize>,
    /// Whether a line is what the source delivered.
    is_original: bool,
}

impl Lines {
    /// The bytes that the source delivered, if a line still has them. Others are read again by
    /// their origin.
    fn original(&self, batch: &RecordBatch, lines: &StringViewArray, row: usize) -> Option<Bytes> {
        let is_replaced = self.lossy.is_some_and(|lossy| {
            let flags = batch.column(lossy).as_any().downcast_ref::<BooleanArray>();
            flags.is_none_or(|flags| flags.is_valid(row) && flags.value(row))
        });
        let is_kept = self.is_original && !is_replaced;
        is_kept.then(|| Bytes::copy_from_slice(lines.value(row).as_bytes()))
    }
}

struct Parse {
    ports: Vec<Port>,
    parser: Arc<dyn Parser>,
    lines: Lines,
    /// The format, where it was found out and not named.
    taken: Option<Arc<str>>,
}

impl Step for Parse {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        let schema = self.ports[0].schema.clone();
        let (parser, lines) = (self.parser.clone(), self.lines.clone());
        Ok(Box::new(Worker { parser, lines, schema, taken: self.taken.clone() }))
    }
}

struct Worker {
    parser: Arc<dyn Parser>,
    lines: Lines,
    schema: SchemaRef,
    taken: Option<Arc<str>>,
}

impl Transform for Worker {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let lines = as_text(batch.column(self.lines.field))?;
        if lines.null_count() == 0 {
            return self.parse(batch, &lines, out);
        }
        let present = is_not_null(&lines).map_err(cannot_filter)?;
        let numbers = Numbers::of(batch)?;
        let absent = (0..lines.len()).filter(|row| !present.value(*row));
        out.rejects.extend(absent.map(|row| numbers.refuse(row, "the field is null")));
        let batch = filter_record_batch(batch, &present).map_err(cannot_filter)?;
        let lines = as_text(batch.column(self.lines.field))?;
        self.parse(&batch, &lines, out)
    }
}

impl Worker {
    fn parse(&self, batch: &RecordBatch, lines: &StringViewArray, out: &mut Output) -> Result<()> {
        let parsed = self.parser.parse(lines, None);
        let mut columns = batch.columns().to_vec();
        if !parsed.refused.is_empty() {
            columns = filter_all(&columns, &accepted(lines.len(), &parsed.refused))?;
        }
        columns.splice(self.lines.replaced.clone(), parsed.columns);
        let numbers = Numbers::of(batch)?;
        for Refused { row, reason } in parsed.refused {
            let original = self.lines.original(batch, lines, row);
            let reason = match &self.taken {
                None => reason,
                Some(taken) => {
                    format!("{reason}; `format: auto` took {taken} from the first lines")
                }
            };
            let reject = numbers.refuse(row, reason);
            out.rejects.push(match original {
                Some(original) => reject.with_original(original),
                None => reject,
            });
        }
        out.push(assemble(&self.schema, columns)?);
        Ok(())
    }
}

fn accepted(rows: usize, refused: &[Refused]) -> BooleanArray {
    let mut accepted = vec![true; rows];
    for Refused { row, .. } in refused {
        accepted[*row] = false;
    }
    BooleanArray::from(accepted)
}

fn filter_all(columns: &[ArrayRef], accepted: &BooleanArray) -> Result<Vec<ArrayRef>> {
    let filtered = columns.iter().map(|column| filter(column, accepted));
    filtered.collect::<std::result::Result<_, _>>().map_err(cannot_filter)
}

fn cannot_filter(error: arrow::error::ArrowError) -> Error {
    Error::bug("could not leave out refused lines").because(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::BooleanArray;
    use contract::record::{LOSSY, MESSAGE};
    use contract::source::Reject;

    use crate::testing::{Setting, Table, apply, run, shown, step, step_error};

    const GOOD: &str = r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 7"#;

    fn table() -> Table {
        let lines = [Some(GOOD), Some("broken"), Some(GOOD), Some("bro\u{fffd}ken"), None];
        let lossy = Arc::new(BooleanArray::from(vec![false, false, false, true, false]));
        Table::new().texts("host", &[Some("h"); 5]).texts(MESSAGE, &lines).column(LOSSY, lossy)
    }

    #[test]
    fn columns_of_the_format_take_the_place_of_the_lines_and_the_others_stay() {
        let output = run("parse", &[("format", "common".into())], &table());
        let rows = shown(&output);
        let first = rows.lines().nth(1).expect("a row");
        assert!(first.starts_with("host=h ip=1.2.3.4 "), "{first}");
        assert!(first.contains(" endpoint=/a?b path=/a query=b "), "{first}");
        assert!(first.ends_with(" _lossy=false _position=0"), "{first}");
        assert!(rows.lines().nth(2).expect("another").ends_with("_position=2"));
        assert_eq!(rows.lines().count(), 3);
    }

    #[test]
    fn the_lines_stay_where_that_is_wanted() {
        let settings = [("format", "common".into()), ("keep", true.into())];
        let rows = shown(&run("parse", &settings, &table()));
        let first = rows.lines().nth(1).expect("a row");
        assert!(first.starts_with(&format!("host=h message={GOOD} ip=1.2.3.4 ")), "{first}");
        assert_eq!(rows.lines().count(), 3);
    }

    #[test]
    fn a_refused_line_keeps_its_bytes_unless_they_were_replaced() {
        let output = run("parse", &[("format", "common".into())], &table());
        let mut refused: Vec<_> = output
            .rejects
            .iter()
            .map(|reject| (reject.position, reject.original.as_deref()))
            .collect();
        refused.sort();
        assert_eq!(refused, [(1, Some(&b"broken"[..])), (3, None), (4, None)]);
    }

    #[test]
    fn another_column_than_the_message_has_no_original_of_its_own() {
        let settings = [("format", "common".into()), ("field", "host".into())];
        let output = run("parse", &settings, &table());
        assert!(output.rejects.iter().all(|reject| reject.original.is_none()));
        assert_eq!(output.rejects.len(), 5);
    }

    #[test]
    fn fields_that_are_called_as_the_origin_is_need_another_name() {
        let line = r#"{"_split":"a","_epoch":7,"_ordinal":2,"_position":9,"x":"y"}"#;
        let table = Table::new().texts(MESSAGE, &[Some(line)]);
        let types = [("_split", "text"), ("_epoch", "integer"), ("_ordinal", "integer")];
        let types: Vec<_> = types.into_iter().chain([("_position", "integer")]).collect();
        for (name, kind) in &types {
            let settings = [("format", "json".into()), ("fields", (&[(*name, *kind)][..]).into())];
            let said = step_error("parse", &settings, &table);
            let expected = format!(
                "rename: column {name:?} is the origin of a row; give the field of the log \
                 another name: `rename: {{ {name}: log{name} }}`"
            );
            assert_eq!(said, expected);
        }
        let names = types.iter().map(|(name, _)| (*name, format!("log{name}")));
        let names: Vec<_> = names.collect();
        let names: Vec<_> = names.iter().map(|(name, new)| (*name, new.as_str())).collect();
        let settings = [
            ("format", "json".into()),
            ("fields", (&types[..]).into()),
            ("rename", (&names[..]).into()),
        ];
        let rows = shown(&run("parse", &settings, &table));
        let expected = "log_split=a log_epoch=7 log_ordinal=2 log_position=9 _position=0";
        assert_eq!(rows, format!("port 0\n{expected}\n"));
        let wrong: &[(&str, &str)] = &[("_spilt", "s")];
        let settings =
            [("format", "json".into()), ("fields", (&types[..1]).into()), ("rename", wrong.into())];
        let said = step_error("parse", &settings, &table);
        assert!(said.contains("the format has no column \"_spilt\"; did you mean"), "{said}");
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |settings: &[(&str, Setting)], expect: &str| {
            assert_eq!(step_error("parse", settings, &table()), expect);
        };
        check(
            &[("format", "combine".into())],
            "format: unknown value \"combine\"; did you mean \"combined\"?",
        );
        check(
            &[("format", "common".into()), ("field", "messag".into())],
            "field: unknown column \"messag\"; did you mean \"message\"?",
        );
        check(
            &[("format", "common".into()), ("field", "_position".into())],
            "field: column \"_position\" is Int64, expected text; -",
        );
        let twice = Table::new().texts("ip", &[None]).texts(MESSAGE, &[None]);
        assert_eq!(
            step_error("parse", &[("format", "common".into())], &twice),
            "-: column \"ip\" would stand twice; \
             name the column of the format otherwise with `rename`, or that of the input with a \
             `sql` step before this one"
        );
    }

    #[test]
    fn rows_do_not_depend_on_the_cuts_between_batches() {
        let step = step("parse", &[("format", "common".into())], &table()).unwrap();
        let sorted = |mut rejects: Vec<Reject>| {
            rejects.sort_by_key(|reject| reject.position);
            rejects
        };
        let whole = table().batch();
        let once = apply(step.as_ref(), std::slice::from_ref(&whole));
        for cut in 0..=whole.num_rows() {
            let parts = [whole.slice(0, cut), whole.slice(cut, whole.num_rows() - cut)];
            let twice = apply(step.as_ref(), &parts);
            assert_eq!(shown(&once), shown(&twice));
            assert_eq!(sorted(once.rejects.clone()), sorted(twice.rejects));
        }
    }
}
