//! What the templates of topics, keys, partitions and headers make of rows: text, or bytes.
//!
//! The language is that of all templates ([`formats::template`]). A template knows no destination:
//! whether what it makes is legal is for others to check.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use contract::record::is_origin;
use contract::{Error, Result, Section, sink};
use formats::template::{self, Piece, check_time};

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Config: braces that do not match, an empty placeholder, a time format that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = template::Template::parse(text, &[])?;
        Ok(Self { pieces: parsed.pieces().to_vec() })
    }

    /// The text, if it has no columns in it.
    pub fn constant(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// A regular expression for everything that it can make.
    pub fn pattern(&self) -> String {
        let parts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => regex::escape(text),
            Piece::Word(_) | Piece::Column(_) | Piece::Time(..) => ".*".to_owned(),
        });
        parts.collect()
    }

    /// Everything that it can make, for comparing with what another one can.
    pub fn choice(&self) -> Vec<sink::Piece> {
        let parts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => sink::Piece::Text(text.clone()),
            Piece::Word(_) | Piece::Column(_) | Piece::Time(..) => sink::Piece::Any,
        });
        parts.collect()
    }

    /// Finds its columns.
    ///
    /// # Errors
    /// Config: a column is missing, or has a type that is no text, or no time.
    pub fn bind(&self, schema: &Schema) -> Result<()> {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(_) | Piece::Word(_) => Ok(()),
            Piece::Column(name) => check_column(schema, name),
            Piece::Time(name, _) => {
                check_column(schema, name)?;
                check_time(schema, name)
            }
        })
    }

    /// The values of its columns in a batch.
    ///
    /// # Errors
    /// Config: a column cannot become text.
    pub fn cells(&self, batch: &RecordBatch) -> Result<Cells> {
        let parts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Cell::Text(text.clone())),
            Piece::Word(word) => Ok(Cell::Text((*word).to_owned())),
            Piece::Column(name) => {
                Column::of(batch, name).map(|column| Cell::Column(Box::new(column)))
            }
            Piece::Time(name, format) => {
                let texts = format.texts(column_of(batch, name)?)?;
                Ok(Cell::Column(Box::new(Column::Text(texts))))
            }
        });
        Ok(Cells { parts: parts.collect::<Result<_>>()? })
    }
}

/// Refuses a column that is not there, or that has no form as text.
///
/// # Errors
/// Config.
pub fn check_column(schema: &Schema, name: &str) -> Result<()> {
    let Ok(field) = schema.field_with_name(name) else {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let names = names.filter(|name| !is_origin(name));
        return Err(Error::config(format!("there is no column {name:?}"))
            .hint(Section::did_you_mean(name, names)));
    };
    let data_type = field.data_type();
    if is_bytes(data_type) || arrow::compute::can_cast_types(data_type, &DataType::Utf8View) {
        return Ok(());
    }
    Err(Error::config(format!("column {name:?} is {data_type}, which has no form as text")))
}

/// A column as text, or as bytes where it is bytes.
pub enum Column {
    /// Text.
    Text(StringViewArray),
    /// Bytes.
    Bytes(BinaryViewArray),
}

impl Column {
    /// A column of a batch.
    ///
    /// # Errors
    /// Bug: it was not there, or not of its type, when the pipeline was checked.
    pub fn of(batch: &RecordBatch, name: &str) -> Result<Self> {
        let column = column_of(batch, name)?;
        let is_bytes = is_bytes(column.data_type());
        let wanted = if is_bytes { DataType::BinaryView } else { DataType::Utf8View };
        let column: ArrayRef = match *column.data_type() == wanted {
            true => Arc::clone(column),
            false => cast(column, &wanted).map_err(|error| {
                Error::bug(format!("column {name:?} does not become text")).because(error)
            })?,
        };
        Ok(match is_bytes {
            true => Self::Bytes(column.as_binary_view().clone()),
            false => Self::Text(column.as_string_view().clone()),
        })
    }

    /// The value in a row.
    pub fn value(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Text(texts) => texts.is_valid(row).then(|| texts.value(row).as_bytes()),
            Self::Bytes(bytes) => bytes.is_valid(row).then(|| bytes.value(row)),
        }
    }
}

fn column_of<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| Error::bug(format!("a batch lost column {name:?}")))
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// A template over the rows of one batch.
pub struct Cells {
    parts: Vec<Cell>,
}

enum Cell {
    Text(String),
    Column(Box<Column>),
}

impl Cells {
    /// What the template makes of a row, in `scratch` where it must be put together; none where a
    /// column of it is null.
    pub fn render<'a>(&'a self, row: usize, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match &self.parts[..] {
            [Cell::Text(text)] => return Some(text.as_bytes()),
            [Cell::Column(column)] => return column.value(row),
            _ => {}
        }
        scratch.clear();
        for part in &self.parts {
            match part {
                Cell::Text(text) => scratch.extend_from_slice(text.as_bytes()),
                Cell::Column(column) => scratch.extend_from_slice(column.value(row)?),
            }
        }
        Some(scratch)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        let bytes = BinaryViewArray::from(vec![Some(&b"\xff"[..]), None]);
        let numbers = Int64Array::from(vec![7, 8]);
        let times = TimestampMicrosecondArray::from(vec![Some(1_431_857_103_000_000), None]);
        let columns: [(&str, ArrayRef); 4] = [
            ("b", Arc::new(bytes) as _),
            ("n", Arc::new(numbers.clone()) as _),
            ("a:b", Arc::new(numbers) as _),
            ("t", Arc::new(times) as _),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn check(template: &str, expect: [Option<&[u8]>; 2]) {
        let template = Template::parse(template).unwrap();
        template.bind(&batch().schema()).unwrap();
        let cells = template.cells(&batch()).unwrap();
        for (row, expect) in expect.into_iter().enumerate() {
            assert_eq!(cells.render(row, &mut Vec::new()), expect, "row {row}");
        }
    }

    #[test]
    fn columns_stand_in_braces() {
        check("a", [Some(b"a"), Some(b"a")]);
        check("{b}", [Some(b"\xff"), None]);
        check("x-{n}-{n}", [Some(b"x-7-7"), Some(b"x-8-8")]);
        check("{n}{b}", [Some(b"7\xff"), None]);
        check("{{{n}}}", [Some(b"{7}"), Some(b"{8}")]);
        check("", [Some(b""), Some(b"")]);
    }

    #[test]
    fn times_are_written_as_in_every_template() {
        check("logs-{t:%Y.%m.%d}", [Some(b"logs-2015.05.17"), None]);
        check("{a:b}", [Some(b"7"), Some(b"8")]);
        let error = Template::parse("{n:%Y}").unwrap().bind(&batch().schema()).unwrap_err();
        assert_eq!(error.to_string(), "column \"n\" of type Int64 is no time");
    }

    #[test]
    fn a_wrong_template_is_named() {
        for wrong in ["{", "a}", "{}", "{a", "{a}}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        let error = Template::parse("{m}").unwrap().bind(&batch().schema()).unwrap_err();
        assert_eq!(error.to_string(), "there is no column \"m\"");
    }

    #[test]
    fn a_constant_is_known_as_one() {
        assert_eq!(Template::parse("a{{").unwrap().constant(), Some("a{"));
        assert_eq!(Template::parse("a{b}").unwrap().constant(), None);
        assert_eq!(Template::parse("a.{b}").unwrap().pattern(), "a\\..*");
    }
}
