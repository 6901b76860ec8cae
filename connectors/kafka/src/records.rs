//! Records of a partition as columns, built as they come in.
//!
//! A tombstone, a record without a value, is a row whose `message` is null. Every record is one
//! row, whatever its bytes.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanArray, Int32Array, Int64Array, RecordBatch,
    StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use contract::record::{LOSSY, MESSAGE, position_field};
use contract::{Error, Result};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use crate::catalog::Partition;
use crate::config::SourceFormat;
use crate::headers::{self, Header};

/// What a record takes in the log beside key and value, about.
const OVERHEAD_BYTES: u64 = 16;

/// The columns of every batch.
pub fn schema(format: SourceFormat) -> SchemaRef {
    let bytes = match format {
        SourceFormat::Text => DataType::Utf8View,
        SourceFormat::Raw => DataType::BinaryView,
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(MESSAGE, bytes.clone(), true),
        Field::new("key", bytes, true),
        Field::new("headers", DataType::Utf8View, true),
        Field::new("timestamp", time, true),
        Field::new("topic", DataType::Utf8View, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new(LOSSY, DataType::Boolean, false),
        position_field(),
    ]))
}

/// Records on their way into a batch.
pub struct Records {
    schema: SchemaRef,
    partition: Partition,
    messages: Values,
    keys: Values,
    headers: StringViewBuilder,
    json: Vec<u8>,
    times_us: Vec<Option<i64>>,
    offsets: Vec<i64>,
    lossy: Vec<bool>,
    bytes: u64,
}

impl Records {
    /// No records yet.
    pub fn new(schema: SchemaRef, partition: Partition, format: SourceFormat) -> Self {
        Self {
            schema,
            partition,
            messages: Values::new(format),
            keys: Values::new(format),
            headers: StringViewBuilder::new(),
            json: Vec::new(),
            times_us: Vec::new(),
            offsets: Vec::new(),
            lossy: Vec::new(),
            bytes: 0,
        }
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// The bytes of their keys and values, and what the log adds to them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the next record.
    pub fn push(&mut self, message: &BorrowedMessage<'_>) {
        let mut is_text = self.messages.push(message.payload());
        is_text &= self.keys.push(message.key());
        is_text &= self.push_headers(message);
        let millis = message.timestamp().to_millis();
        self.times_us.push(millis.and_then(|millis| millis.checked_mul(1000)));
        self.offsets.push(message.offset());
        self.lossy.push(!is_text);
        let bytes = message.payload_len() + message.key_len();
        self.bytes += bytes as u64 + OVERHEAD_BYTES;
    }

    /// Adds a record of which only the value was kept; key, headers and time are not known.
    pub fn push_kept(&mut self, offset: i64, value: &[u8]) {
        let is_text = self.messages.push(Some(value));
        self.keys.push(None);
        self.headers.append_null();
        self.times_us.push(None);
        self.offsets.push(offset);
        self.lossy.push(!is_text);
        self.bytes += value.len() as u64 + OVERHEAD_BYTES;
    }

    fn push_headers(&mut self, message: &BorrowedMessage<'_>) -> bool {
        let mut headers: Vec<Header<'_>> = headers::of(message).collect();
        if headers.is_empty() {
            self.headers.append_null();
            return true;
        }
        self.json.clear();
        let is_text = headers::write_json(&mut headers, &mut self.json);
        self.headers.append_value(String::from_utf8_lossy(&self.json));
        is_text
    }

    /// Makes a batch of what there is, and begins anew.
    ///
    /// # Errors
    /// Bug: the columns do not make a batch.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = self.rows();
        let times: TimestampMicrosecondArray = self.times_us.drain(..).collect();
        let offsets: ArrayRef = Arc::new(Int64Array::from(std::mem::take(&mut self.offsets)));
        let columns = vec![
            self.messages.finish(),
            self.keys.finish(),
            Arc::new(self.headers.finish()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(repeated(&self.partition.topic, rows)),
            Arc::new(Int32Array::from(vec![self.partition.number; rows])),
            offsets.clone(),
            Arc::new(BooleanArray::from(std::mem::take(&mut self.lossy))),
            offsets,
        ];
        self.bytes = 0;
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::bug("records do not make a batch").because(error))
    }
}

/// A column that holds one text in every row, once.
fn repeated(text: &str, rows: usize) -> StringViewArray {
    let one = StringViewArray::from(vec![text]);
    let views = vec![one.views()[0]; rows];
    StringViewArray::new(views.into(), one.data_buffers().to_vec(), None)
}

/// A column of values, as text or as bytes.
enum Values {
    Text(StringViewBuilder),
    Raw(BinaryViewBuilder),
}

impl Values {
    fn new(format: SourceFormat) -> Self {
        match format {
            SourceFormat::Text => Self::Text(StringViewBuilder::new()),
            SourceFormat::Raw => Self::Raw(BinaryViewBuilder::new()),
        }
    }

    /// Adds a value; false if it should be text and was not.
    fn push(&mut self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Raw(builder), value) => builder.append_option(value),
            (Self::Text(builder), None) => builder.append_null(),
            (Self::Text(builder), Some(value)) => {
                if let Ok(text) = simdutf8::basic::from_utf8(value) {
                    builder.append_value(text);
                    return true;
                }
                let text = String::from_utf8_lossy(value);
                builder.append_value(&text);
                return matches!(text, Cow::Borrowed(_));
            }
        }
        true
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Raw(builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn values_are_text_or_marked() {
        let mut texts = Values::new(SourceFormat::Text);
        let said: Vec<_> = [Some(&b"a"[..]), Some(b"\xff"), None, Some(b"")]
            .into_iter()
            .map(|value| texts.push(value))
            .collect();
        assert_eq!(said, [true, false, true, true]);
        let texts = texts.finish();
        let texts: Vec<_> = texts.as_string_view().iter().collect();
        assert_eq!(texts, [Some("a"), Some("\u{fffd}"), None, Some("")]);
        let mut bytes = Values::new(SourceFormat::Raw);
        assert!(bytes.push(Some(b"\xff")));
        assert_eq!(bytes.finish().as_binary_view().value(0), b"\xff");
    }

    #[test]
    fn a_topic_stands_once_in_its_column() {
        for name in ["short", "a name that is longer than twelve bytes"] {
            let column = repeated(name, 3);
            assert!(column.iter().all(|text| text == Some(name)));
            assert!(column.data_buffers().len() <= 1);
        }
        assert_eq!(repeated("x", 0).len(), 0);
    }
}
