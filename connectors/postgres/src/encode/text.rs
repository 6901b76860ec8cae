//! Text, bytes and JSON.

use std::net::IpAddr;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::json::LineDelimitedWriter;
use uuid::Uuid;

use super::{Field, Refusal, Written};
use crate::catalog::Target;

/// The version that stands before the text of a `jsonb`.
const JSONB_VERSION: u8 = 1;
const NUL_REFUSED: Refusal = Refusal::Borrowed("PostgreSQL cannot hold a NUL in text");

/// The writer of an array of text; none if the column takes none.
pub fn text(array: &ArrayRef, target: &Target) -> arrow::error::Result<Option<Box<dyn Field>>> {
    let values = cast(array, &DataType::Utf8View)?.as_string_view().clone();
    Ok(match target {
        Target::Text { chars_max } => Some(Box::new(Text { values, chars_max: *chars_max })),
        Target::Json => Some(Box::new(Text { values, chars_max: None })),
        Target::Jsonb => Some(Box::new(Parsed { values, put: put_jsonb })),
        Target::Inet => Some(Box::new(Parsed { values, put: put_inet })),
        Target::Uuid => Some(Box::new(Parsed { values, put: put_uuid })),
        _ => None,
    })
}

/// The writer of an array of bytes; none if the column takes none.
pub fn bytes(array: &ArrayRef, target: &Target) -> arrow::error::Result<Option<Box<dyn Field>>> {
    let values = cast(array, &DataType::BinaryView)?.as_binary_view().clone();
    Ok(matches!(target, Target::Bytea).then(|| Box::new(Bytes(values)) as _))
}

/// The writer of an array of lists, structs or maps, as JSON; none if the column takes none.
pub fn json(array: &ArrayRef, target: &Target) -> arrow::error::Result<Option<Box<dyn Field>>> {
    let version = match target {
        Target::Jsonb => Some(JSONB_VERSION),
        Target::Json | Target::Text { chars_max: None } => None,
        _ => return Ok(None),
    };
    let rows = RecordBatch::try_from_iter_with_nullable([(COLUMN, array.clone(), true)])?;
    let mut writer: LineDelimitedWriter<_> =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(Vec::new());
    writer.write(&rows)?;
    writer.finish()?;
    let text = writer.into_inner();
    let mut ranges = Vec::with_capacity(array.len());
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        // `{"v":VALUE}` and the line's end.
        ranges.push(start + COLUMN.len() + 4..start + line.len() - 2);
        start += line.len();
    }
    Ok(Some(Box::new(Json { version, text, ranges })))
}

/// The name under which values are written as JSON lines, of which only the values are kept.
const COLUMN: &str = "v";

struct Text {
    values: StringViewArray,
    chars_max: Option<usize>,
}

impl Field for Text {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let value = self.values.value(row);
        if value.as_bytes().contains(&0) {
            return Err(NUL_REFUSED);
        }
        match self.chars_max {
            // Fewer bytes than that cannot be more characters.
            Some(max) if value.len() > max && value.chars().count() > max => {
                Err(format!("longer than {max} characters").into())
            }
            _ => {
                out.extend_from_slice(value.as_bytes());
                Ok(())
            }
        }
    }
}

/// Text that stands for something else.
struct Parsed {
    values: StringViewArray,
    put: fn(&str, &mut Vec<u8>) -> Written,
}

impl Field for Parsed {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        (self.put)(self.values.value(row), out)
    }
}

fn put_jsonb(text: &str, out: &mut Vec<u8>) -> Written {
    if text.as_bytes().contains(&0) {
        return Err(NUL_REFUSED);
    }
    out.push(JSONB_VERSION);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Family (2 or 3), bits of the network, not a `cidr`, number of bytes, bytes.
fn put_inet(text: &str, out: &mut Vec<u8>) -> Written {
    let wrong = || Refusal::from(format!("{text:?} is no IP address"));
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let (family, bits_max) = if address.is_ipv4() { (2, 32) } else { (3, 128) };
    let bits = bits.unwrap_or(bits_max);
    if bits > bits_max {
        return Err(wrong());
    }
    out.extend_from_slice(&[family, bits, 0, bits_max / 8]);
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
    Ok(())
}

fn put_uuid(text: &str, out: &mut Vec<u8>) -> Written {
    let uuid = Uuid::parse_str(text).map_err(|_| format!("{text:?} is no UUID"))?;
    out.extend_from_slice(uuid.as_bytes());
    Ok(())
}

struct Bytes(BinaryViewArray);

impl Field for Bytes {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.extend_from_slice(self.0.value(row));
        Ok(())
    }
}

struct Json {
    version: Option<u8>,
    text: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Field for Json {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.extend(self.version);
        out.extend_from_slice(&self.text[self.ranges[row].clone()]);
        Ok(())
    }
}
