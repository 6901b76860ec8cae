//! Batches to bytes: JSON lines, CSV and plain text.
//!
//! A column that is marked as JSON ([`contract::record::with_json_mark`]) is written into JSON as
//! it stands, but for line ends between its values, which become blanks.
//!
//! Times are RFC 3339 with as many digits after the second as they need: in UTC with `Z`, in
//! another zone with its offset.

use std::sync::Arc;

use arrow::array::{Array, ArrayAccessor, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::json::writer::NullableEncoder;
use arrow::json::{EncoderFactory, EncoderOptions, LineDelimitedWriter};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use contract::record::{MESSAGE, is_json};
use contract::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodeFormat {
    /// One JSON object per line, null where nothing stands. Fields of type `json` as they stand,
    /// byte for byte, but for line ends between their values, which become blanks.
    #[default]
    Json,
    /// Comma-separated values under a line of names.
    Csv,
    /// The column `message` alone where there is one, else all columns with tabs between them; a
    /// tab or line break inside a value is written `\t`, `\n` or `\r`.
    Text,
}

/// Writes the batches of one stream.
pub struct Encoder {
    format: EncodeFormat,
    message: Option<usize>,
    begun: bool,
}

impl Encoder {
    /// An encoder of batches with these columns.
    pub fn new(format: EncodeFormat, schema: &Schema) -> Self {
        Self { format, message: schema.index_of(MESSAGE).ok(), begun: false }
    }

    /// Adds the bytes of a batch, whole lines.
    ///
    /// # Errors
    /// Config: a column has a type that the format cannot write.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let first = !std::mem::replace(&mut self.begun, true);
        let written = match self.format {
            EncodeFormat::Json => encode_json(batch, out),
            EncodeFormat::Csv => {
                arrow::csv::WriterBuilder::new().with_header(first).build(out).write(batch)
            }
            EncodeFormat::Text => encode_text(batch, self.message, out),
        };
        written.map_err(|error| {
            Error::config(format!("could not write rows as {:?}", self.format)).because(error)
        })
    }
}

fn encode_json(batch: &RecordBatch, out: &mut Vec<u8>) -> arrow::error::Result<()> {
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let builder = builder.with_encoder_factory(Arc::new(AsItStands));
    let mut writer: LineDelimitedWriter<_> = builder.build(out);
    writer.write(batch)?;
    writer.finish()
}

/// Writes columns that are marked as JSON byte for byte; all others are left to their types.
#[derive(Debug)]
struct AsItStands;

impl EncoderFactory for AsItStands {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> arrow::error::Result<Option<NullableEncoder<'a>>> {
        if !is_json(field) {
            return Ok(None);
        }
        let encoder: Box<dyn arrow::json::Encoder + 'a> = match array.data_type() {
            DataType::Utf8View => Box::new(JsonText(array.as_string_view())),
            DataType::Utf8 => Box::new(JsonText(array.as_string::<i32>())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())))
    }
}

struct JsonText<A>(A);

impl<'a, A: ArrayAccessor<Item = &'a str>> arrow::json::Encoder for JsonText<A> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        push_on_one_line(self.0.value(row).as_bytes(), out);
    }
}

/// Adds JSON without its line ends. Inside a string JSON escapes them, so that whatever stands here
/// is blank space between two values; a row must not become two lines.
fn push_on_one_line(json: &[u8], out: &mut Vec<u8>) {
    let mut begin = 0;
    for end in memchr::memchr2_iter(b'\n', b'\r', json) {
        out.extend_from_slice(&json[begin..end]);
        out.push(b' ');
        begin = end + 1;
    }
    out.extend_from_slice(&json[begin..]);
}

fn encode_text(
    batch: &RecordBatch,
    message: Option<usize>,
    out: &mut Vec<u8>,
) -> arrow::error::Result<()> {
    if let Some(at) = message
        && batch.column(at).data_type() == &DataType::Utf8View
    {
        for text in batch.column(at).as_string_view().iter() {
            out.extend_from_slice(text.unwrap_or_default().as_bytes());
            out.push(b'\n');
        }
        return Ok(());
    }
    let options = FormatOptions::new();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns.collect::<arrow::error::Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            push_escaped(&column.value(row).to_string(), out);
        }
        out.push(b'\n');
    }
    Ok(())
}

fn push_escaped(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Float64Array, Int64Array, StringViewArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int32Type};
    use contract::record::with_json_mark;
    use proptest::prelude::{Just, prop_assert_eq, prop_oneof, proptest};

    use super::*;
    use crate::timestamp::rfc3339;

    fn check(format: EncodeFormat, columns: Vec<(&str, ArrayRef)>, expect: &str) {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .expect("the columns have one length");
        let mut encoder = Encoder::new(format, &batch.schema());
        let mut out = Vec::new();
        encoder.encode(&batch.slice(0, 1), &mut out).expect("it can be written");
        encoder.encode(&batch.slice(1, 1), &mut out).expect("it can be written");
        assert_eq!(String::from_utf8(out).expect("it is UTF-8"), expect);
    }

    fn columns() -> Vec<(&'static str, ArrayRef)> {
        let times = vec![Some(1_431_857_103_000_000), Some(1_431_857_103_250_001)];
        let words: DictionaryArray<Int32Type> = vec![Some("GET"), None].into_iter().collect();
        let texts = vec![Some("a \"quoted\"\ttext, é"), None];
        vec![
            ("ts", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
            ("method", Arc::new(words)),
            ("text", Arc::new(StringViewArray::from(texts))),
            ("n", Arc::new(Int64Array::from(vec![Some(7), None]))),
            ("share", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ]
    }

    proptest! {
        /// Since 1973 every place is a whole number of minutes away from Greenwich, which is what
        /// RFC 3339 can write.
        #[test]
        fn a_time_of_any_place_is_read_again_as_the_same_instant(
            micros in prop_oneof![
                100_000_000_000_000_i64..4_000_000_000_000_000,
                // Around the ends of summer time in Europe and America.
                1_774_742_000_000_000_i64..1_774_750_000_000_000,
                1_792_886_000_000_000_i64..1_792_894_000_000_000,
                1_793_500_000_000_000_i64..1_793_530_000_000_000,
            ],
            place in prop_oneof![
                Just("UTC"), Just("Europe/Berlin"), Just("Europe/London"), Just("+05:30"),
                Just("America/New_York"), Just("Australia/Lord_Howe"), Just("America/St_Johns"),
            ],
        ) {
            let times = TimestampMicrosecondArray::from(vec![micros]).with_timezone(place);
            let batch = RecordBatch::try_from_iter([("ts", Arc::new(times) as ArrayRef)]);
            let batch = batch.expect("one column");
            for format in [EncodeFormat::Json, EncodeFormat::Csv, EncodeFormat::Text] {
                let mut out = Vec::new();
                Encoder::new(format, &batch.schema()).encode(&batch, &mut out).expect("written");
                let text = String::from_utf8(out).expect("text");
                let line = text.lines().last().expect("a line");
                let time = line.trim_start_matches("{\"ts\":\"").trim_end_matches("\"}");
                prop_assert_eq!(rfc3339(time), Some(micros), "{:?} {}", format, time);
            }
        }
    }

    #[test]
    fn rows_are_json_lines() {
        check(
            EncodeFormat::Json,
            columns(),
            concat!(
                r#"{"ts":"2015-05-17T10:05:03Z","method":"GET","text":"a \"quoted\"\ttext, é","#,
                r#""n":7,"share":0.5}"#,
                "\n",
                r#"{"ts":"2015-05-17T10:05:03.250001Z","method":null,"text":null,"n":null,"#,
                r#""share":null}"#,
                "\n",
            ),
        );
    }

    /// A batch of one marked column.
    fn json_column(texts: Vec<Option<&str>>) -> RecordBatch {
        let field = with_json_mark(Field::new("j", DataType::Utf8View, true));
        let column: ArrayRef = Arc::new(StringViewArray::from(texts));
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).expect("a column")
    }

    #[test]
    fn a_column_that_is_json_is_written_byte_for_byte() {
        let texts = [
            r#"{"a":1,"a":2,"n":123456789012345678901234567890.10e+400,"b": [ 1 ,2 ]}"#,
            r#""caf\u00e9 \ud83d \/ \n""#,
            "[]",
            "-0.0",
            "true",
        ];
        let batch = json_column(texts.iter().copied().map(Some).chain([None]).collect());
        let encode = |format| {
            let mut out = Vec::new();
            Encoder::new(format, &batch.schema()).encode(&batch, &mut out).expect("written");
            String::from_utf8(out).expect("text")
        };
        let lines = texts.iter().copied().chain(["null"]).map(|it| format!("{{\"j\":{it}}}\n"));
        assert_eq!(encode(EncodeFormat::Json), lines.collect::<String>());
        let text = texts.map(|text| format!("{text}\n")).concat() + "\n";
        assert_eq!(encode(EncodeFormat::Text), text, "text is text");
    }

    #[test]
    fn line_ends_between_values_do_not_end_a_row() {
        let batch = json_column(vec![Some("{\r\n \"a\":\n\"\\n\"\n}"), Some("\n1\n")]);
        let mut out = Vec::new();
        Encoder::new(EncodeFormat::Json, &batch.schema())
            .encode(&batch, &mut out)
            .expect("written");
        let expect = "{\"j\":{   \"a\": \"\\n\" }}\n{\"j\": 1 }\n";
        assert_eq!(String::from_utf8(out).expect("text"), expect);
    }

    #[test]
    fn rows_are_csv_under_one_header() {
        check(
            EncodeFormat::Csv,
            columns(),
            "ts,method,text,n,share\n\
             2015-05-17T10:05:03Z,GET,\"a \"\"quoted\"\"\ttext, é\",7,0.5\n\
             2015-05-17T10:05:03.250001Z,,,,\n",
        );
    }

    #[test]
    fn rows_are_text() {
        check(
            EncodeFormat::Text,
            columns(),
            "2015-05-17T10:05:03Z\tGET\ta \"quoted\"\\ttext, é\t7\t0.5\n\
             2015-05-17T10:05:03.250001Z\t\t\t\t\n",
        );
        let lines: ArrayRef = Arc::new(StringViewArray::from(vec!["one\ttwo", "three"]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        check(
            EncodeFormat::Text,
            vec![("_position", numbers), (MESSAGE, lines)],
            "one\ttwo\nthree\n",
        );
    }
}
