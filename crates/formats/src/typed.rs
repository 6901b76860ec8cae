//! Rows of typed fields for the formats whose columns the user names.
//!
//! A row is complete, as cells, before any of it enters a column; so a field of the wrong type
//! refuses its line and leaves nothing behind.
//!
//! Nothing, in a field that is neither text nor JSON, is written as empty text or as `-`.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimestampMicrosecondType};
use contract::record::with_json_mark;
use contract::{Error, Result};
use serde::de::IgnoredAny;

use crate::column::{BooleanColumn, NumberColumn, timestamp_type};
use crate::text::{Line, Lines, TextColumn};
use crate::timestamp::{TimeFormat, Zones};
use crate::{FieldType, FormatConfig, Parsed, Refused};

/// What a field of a line comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A piece of the line itself.
    Piece(&'a str),
    /// Text that does not stand so in the line.
    Text(String),
    /// A whole number, or a time in microseconds since 1970.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A truth.
    Boolean(bool),
}

impl FieldType {
    /// The type of its column.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8View,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => timestamp_type(),
        }
    }

    /// What this type of field is called in a reason.
    fn wanted(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number of 64 bits",
            Self::Float => "a number",
            Self::Boolean => "true or false",
            Self::Timestamp => "a time",
            Self::Json => "JSON",
        }
    }

    /// Why a text is none of this type, as a sentence about it goes on.
    pub(crate) fn refusal(self, text: &str, times: &TimeFormat) -> String {
        let wanted = self.wanted();
        let place = match self {
            Self::Timestamp => times.place_without(text),
            _ => None,
        };
        match place {
            Some(place) => {
                format!("is not {wanted}: in {place} the clocks were set forward over it")
            }
            None => format!("is not {wanted}"),
        }
    }

    /// Converts text without quotes. Empty text is null but for text itself, and so is `-` where
    /// a number, a time or a truth should stand: servers write it for what there was not.
    pub(crate) fn convert<'a>(self, text: &'a str, times: &TimeFormat) -> Option<Cell<'a>> {
        let missing = match self {
            Self::Text => false,
            Self::Json => text.is_empty(),
            _ => is_missing(text),
        };
        if missing {
            return Some(Cell::Null);
        }
        Some(match self {
            Self::Text => Cell::Piece(text),
            Self::Integer => Cell::Integer(text.parse().ok()?),
            Self::Float => {
                Cell::Float(text.parse().ok().filter(|number: &f64| number.is_finite())?)
            }
            Self::Boolean => Cell::Boolean(text.parse().ok()?),
            Self::Timestamp => Cell::Integer(times.parse(text)?),
            Self::Json => {
                serde_json::from_str::<IgnoredAny>(text).ok()?;
                Cell::Piece(text)
            }
        })
    }
}

/// Whether a value says that there is none: empty text, or the `-` of access logs.
pub fn is_missing(text: &str) -> bool {
    matches!(text, "" | "-")
}

/// Converts text without quotes that may have been copied from the line.
pub fn convert_cow<'a>(
    text: Cow<'a, str>,
    field_type: FieldType,
    times: &TimeFormat,
) -> Option<Cell<'a>> {
    match text {
        Cow::Borrowed(text) => field_type.convert(text, times),
        Cow::Owned(text) => Some(match field_type.convert(&text, times)? {
            Cell::Null => Cell::Null,
            Cell::Integer(number) => Cell::Integer(number),
            Cell::Float(number) => Cell::Float(number),
            Cell::Boolean(truth) => Cell::Boolean(truth),
            Cell::Piece(_) | Cell::Text(_) => Cell::Text(text),
        }),
    }
}

/// The time format that a configuration sets.
///
/// # Errors
/// Config: it is no pattern of strftime, or one that gives no instant.
pub fn time_format(config: &FormatConfig) -> Result<TimeFormat> {
    let zones = Zones::read(config.time_zone.as_deref(), config.zones.as_ref())?;
    let format = TimeFormat::new(config.time_format.as_deref(), zones);
    format.map_err(|error| match error.field_name() {
        Some(_) => error,
        None => error.field("time_format"),
    })
}

/// The columns of these names and types.
///
/// # Errors
/// Config: two columns have one name.
pub fn columns_of(columns: &[(String, FieldType)]) -> Result<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::with_capacity(columns.len());
    for (name, field_type) in columns {
        if fields.iter().any(|field| field.name() == name) {
            return Err(Error::config(format!("two fields make the column {name:?}"))
                .field("fields")
                .hint("leave one of them out, or keep it in the column of `rest`"));
        }
        let field = Field::new(name, field_type.data_type(), true);
        fields.push(match field_type {
            FieldType::Json => with_json_mark(field),
            _ => field,
        });
    }
    Ok(fields)
}

/// Gives each line to `cells_of`, which fills one cell per type or says why it cannot.
pub fn parse_rows<'a>(
    lines: &Lines<'a>,
    types: &[FieldType],
    projection: Option<&[usize]>,
    mut cells_of: impl FnMut(&'a str, &mut Vec<Cell<'a>>) -> std::result::Result<(), String>,
) -> Parsed {
    let wanted: Vec<usize> =
        projection.map_or_else(|| (0..types.len()).collect(), <[usize]>::to_vec);
    let mut columns: Vec<_> = wanted.iter().map(|at| Column::new(types[*at], lines)).collect();
    let mut refused = Vec::new();
    let mut cells = Vec::new();
    for row in 0..lines.rows() {
        let Some(line) = lines.line(row) else {
            refused.push(Refused { row, reason: "the line is null".into() });
            continue;
        };
        if line.text.trim_ascii().is_empty() {
            refused.push(Refused { row, reason: "the line is blank".into() });
            continue;
        }
        cells.clear();
        cells.resize(types.len(), Cell::Null);
        if let Err(reason) = cells_of(line.text, &mut cells) {
            refused.push(Refused { row, reason });
            continue;
        }
        for (at, column) in wanted.iter().zip(&mut columns) {
            column.push(line, &cells[*at]);
        }
    }
    Parsed { columns: columns.into_iter().map(Column::finish).collect(), refused }
}

enum Column {
    Text(TextColumn),
    Integer(NumberColumn<Int64Type>),
    Float(NumberColumn<Float64Type>),
    Boolean(BooleanColumn),
    Time(NumberColumn<TimestampMicrosecondType>),
}

impl Column {
    fn new(field_type: FieldType, lines: &Lines<'_>) -> Self {
        match field_type {
            FieldType::Text | FieldType::Json => Self::Text(TextColumn::new(lines)),
            FieldType::Integer => Self::Integer(NumberColumn::new(lines.rows())),
            FieldType::Float => Self::Float(NumberColumn::new(lines.rows())),
            FieldType::Boolean => Self::Boolean(BooleanColumn::new(lines.rows())),
            FieldType::Timestamp => Self::Time(NumberColumn::new(lines.rows())),
        }
    }

    fn push(&mut self, line: Line<'_>, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Text(column), Cell::Piece(piece)) => column.push_piece(line, piece),
            (Self::Text(column), Cell::Text(text)) => column.push_copy(text),
            (Self::Text(column), _) => column.push_null(),
            (Self::Integer(column), Cell::Integer(number)) => column.push(Some(*number)),
            (Self::Integer(column), _) => column.push(None),
            (Self::Time(column), Cell::Integer(micros)) => column.push(Some(*micros)),
            (Self::Time(column), _) => column.push(None),
            (Self::Float(column), Cell::Float(number)) => column.push(Some(*number)),
            (Self::Float(column), _) => column.push(None),
            (Self::Boolean(column), Cell::Boolean(truth)) => column.push(Some(*truth)),
            (Self::Boolean(column), _) => column.push(None),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(column) => column.finish(),
            Self::Integer(column) => column.finish(),
            Self::Float(column) => column.finish(),
            Self::Boolean(column) => column.finish(),
            Self::Time(column) => column.finish_times(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use crate::table::rows;
    use crate::{FieldType, Fields, Format, FormatConfig, infer};

    fn config(format: Format) -> FormatConfig {
        let types = [
            FieldType::Text,
            FieldType::Integer,
            FieldType::Float,
            FieldType::Boolean,
            FieldType::Timestamp,
            FieldType::Json,
        ];
        let names = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
        let regex = format == Format::Regex;
        FormatConfig {
            fields: Some(Fields(names.into_iter().zip(types).collect())),
            rest: (!regex).then(|| "rest".into()),
            pattern: regex
                .then(|| r#"(?<a>\W*)(?<b>[\d.]*)(?<c>\S*)(?<d>t?)(?<e>.*)(?<f>)"#.into()),
            ..FormatConfig::new(format)
        }
    }

    /// Any bytes, and signs in which the formats find a meaning.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60)
                .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            r#"[a-f{}\[\]":,=\\ 0-9.eué\n\ttrue-]{0,60}"#,
            r#"\{("[a-g]":("[^"\\]{0,9}"|-?[0-9]{1,20}|true|null|\[\]|\{\}),){0,5}"g":1\}"#,
            r#"([a-g]=("[^"]{0,9}"|[^" ]{0,9}) ){1,5}"#,
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_refused(lines in proptest::collection::vec(line(), 1..8)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            for format in [Format::Json, Format::Logfmt, Format::Regex] {
                rows(&config(format), &lines);
            }
        }

        #[test]
        fn guessed_fields_read_every_line_of_their_format(
            lines in proptest::collection::vec(line(), 1..8),
        ) {
            let array = arrow::array::StringViewArray::from_iter_values(&lines);
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let untyped = [(Format::Json, FieldType::Json), (Format::Logfmt, FieldType::Text)];
            for (format, any_type) in untyped {
                let Ok(guessed) = infer(format, &array) else { continue };
                let names = guessed.0.iter().map(|(name, _)| (name.clone(), any_type));
                let untyped = Fields(names.collect());
                let [guessed, untyped] = [guessed, untyped].map(|fields| {
                    let config = FormatConfig { fields: Some(fields), ..FormatConfig::new(format) };
                    rows(&config, &lines).0.len()
                });
                prop_assert_eq!(guessed, untyped, "no line is refused for its types alone");
            }
        }
    }
}
