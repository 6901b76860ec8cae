//! The values of records: what becomes of the columns of a row.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use contract::record::is_origin;
use contract::{Error, Result};
use formats::encode::{EncodeFormat, Encoder};

use crate::config::{SinkConfig, SinkFormat};
use crate::template::{self, Column};

/// Makes the values of batches.
pub enum Values {
    /// Each row as a JSON object of these columns.
    Json {
        /// The columns that are the user's own.
        columns: Vec<usize>,
    },
    /// One column.
    Field {
        /// Its name.
        name: String,
    },
}

impl Values {
    /// For batches with these columns.
    ///
    /// # Errors
    /// Config: the field is not there, or has the wrong type.
    pub fn new(config: &SinkConfig, schema: &Schema) -> Result<Self> {
        if config.format == SinkFormat::Json {
            let columns = schema.fields().iter().enumerate();
            let columns = columns.filter(|(_, field)| !is_origin(field.name()));
            return Ok(Self::Json { columns: columns.map(|(at, _)| at).collect() });
        }
        let name = config.field.clone();
        template::check_column(schema, &name).map_err(|error| error.field("field"))?;
        let field = schema.field_with_name(&name).expect("it was found just now");
        if config.format == SinkFormat::Raw && !is_text_or_bytes(field.data_type()) {
            let message = format!("column {name:?} is {}, not text or bytes", field.data_type());
            return Err(Error::config(message).field("field").hint("use `format: text`"));
        }
        Ok(Self::Field { name })
    }

    /// The values of a batch.
    ///
    /// # Errors
    /// Config: a column has a type that JSON does not have.
    pub fn of(&self, batch: &RecordBatch) -> Result<Encoded> {
        match self {
            Self::Field { name } => Ok(Encoded::Column(Column::of(batch, name)?)),
            Self::Json { columns } => {
                let own = batch.project(columns);
                let own = own.map_err(|error| Error::bug("columns are gone").because(error))?;
                let mut bytes = Vec::new();
                Encoder::new(EncodeFormat::Json, &own.schema()).encode(&own, &mut bytes)?;
                Encoded::lines(bytes, batch.num_rows())
            }
        }
    }
}

fn is_text_or_bytes(data_type: &DataType) -> bool {
    use DataType as Type;
    match data_type {
        Type::Dictionary(_, values) => is_text_or_bytes(values),
        Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => true,
        Type::Binary | Type::LargeBinary | Type::BinaryView => true,
        _ => false,
    }
}

/// The values of one batch.
pub enum Encoded {
    /// Values one after the other.
    Lines {
        /// All of them.
        bytes: Vec<u8>,
        /// Where each stands.
        ranges: Vec<Range<usize>>,
    },
    /// A column.
    Column(Column),
}

impl Encoded {
    /// No value holds a line end, because JSON escapes it.
    fn lines(bytes: Vec<u8>, rows: usize) -> Result<Self> {
        let mut ranges = Vec::with_capacity(rows);
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', &bytes) {
            ranges.push(begin..end);
            begin = end + 1;
        }
        match ranges.len() == rows {
            true => Ok(Self::Lines { bytes, ranges }),
            false => Err(Error::bug(format!("{rows} rows became {} values", ranges.len()))),
        }
    }

    /// The value of a row; none is a tombstone.
    pub fn value(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Lines { bytes, ranges } => Some(&bytes[ranges[row].clone()]),
            Self::Column(column) => column.value(row),
        }
    }
}
