//! The headers of a record: read whatever their bytes are, and shown as JSON.
//!
//! Kafka's headers are a list: a name may come twice, a value may be missing, neither need be
//! text. In JSON they are an object in the order of the names; a name that comes several times has
//! the list of its values.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::{ptr, slice};

use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

/// The header with the split of a row.
pub const SPLIT: &str = "logmill-split";
/// The header with the position of a row, in digits.
pub const POSITION: &str = "logmill-position";
/// The header with the ordinal of a row, in digits, where a step made several rows of a record.
pub const ORDINAL: &str = "logmill-ordinal";
/// The header with the epoch of a row, in digits.
pub const EPOCH: &str = "logmill-epoch";

/// The headers that say where a row came from.
pub const ORIGIN: [&str; 4] = [SPLIT, POSITION, ORDINAL, EPOCH];

/// One header: its name and its value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Reads the headers of a record in their order.
pub struct Headers<'a> {
    list: *const rd_kafka_headers_t,
    next: usize,
    message: PhantomData<&'a ()>,
}

/// The headers of a record. rdkafka's own reader panics where a name is not UTF-8, and whoever
/// writes to a topic could so end the process.
#[allow(unsafe_code)]
pub fn of<'a>(message: &'a BorrowedMessage<'_>) -> Headers<'a> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is valid as long as it is borrowed; librdkafka sets `list` to headers
    // that belong to the message, or answers with an error and there are none.
    let answer = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut list) };
    if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        list = ptr::null_mut();
    }
    Headers { list, next: 0, message: PhantomData }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    #[allow(unsafe_code)]
    fn next(&mut self) -> Option<Header<'a>> {
        if self.list.is_null() {
            return None;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `list` belongs to the message, which `'a` keeps borrowed. Where librdkafka
        // answers without an error, the name ends with NUL and the value, unless it is null, has
        // `length` bytes; both live as long as the message.
        unsafe {
            let answer = rd_kafka_header_get_all(
                self.list,
                self.next,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            );
            if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), length));
            Some((CStr::from_ptr(name).to_bytes(), value))
        }
    }
}

/// Writes headers as a JSON object; false if something in them was no text and was replaced.
pub fn write_json(headers: &mut [Header<'_>], json: &mut Vec<u8>) -> bool {
    let mut is_text = true;
    headers.sort_by_key(|(name, _)| *name);
    json.push(b'{');
    for (number, same) in headers.chunk_by(|one, other| one.0 == other.0).enumerate() {
        if number > 0 {
            json.push(b',');
        }
        is_text &= write_text(same[0].0, json);
        json.push(b':');
        is_text &= match same {
            [(_, value)] => write_value(*value, json),
            several => write_list(several, json),
        };
    }
    json.push(b'}');
    is_text
}

fn write_list(headers: &[Header<'_>], json: &mut Vec<u8>) -> bool {
    let mut is_text = true;
    json.push(b'[');
    for (number, (_, value)) in headers.iter().enumerate() {
        if number > 0 {
            json.push(b',');
        }
        is_text &= write_value(*value, json);
    }
    json.push(b']');
    is_text
}

fn write_value(value: Option<&[u8]>, json: &mut Vec<u8>) -> bool {
    match value {
        Some(value) => write_text(value, json),
        None => {
            json.extend_from_slice(b"null");
            true
        }
    }
}

fn write_text(bytes: &[u8], json: &mut Vec<u8>) -> bool {
    // Every record may have several headers, and hardly one of them is no text.
    let text = simdutf8::basic::from_utf8(bytes);
    let is_text = text.is_ok();
    let text = text.map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
    serde_json::to_writer(json, &text).expect("text becomes JSON, memory takes it");
    is_text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&[u8], Option<&[u8]>)], expect: &str, is_text: bool) {
        let mut json = Vec::new();
        assert_eq!(write_json(&mut headers.to_vec(), &mut json), is_text);
        assert_eq!(String::from_utf8(json).unwrap(), expect);
    }

    #[test]
    fn headers_are_an_object_of_texts() {
        check(&[(b"b", Some(b"2")), (b"a", None)], r#"{"a":null,"b":"2"}"#, true);
        let twice: &[Header<'_>] = &[(b"x", Some(b"1")), (b"y", Some(b"\"")), (b"x", None)];
        check(twice, r#"{"x":["1",null],"y":"\""}"#, true);
        check(&[(b"\xff", Some(b"a\0"))], "{\"\u{fffd}\":\"a\\u0000\"}", false);
    }
}
