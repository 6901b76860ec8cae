//! The ids of topics: what tells a topic from another one that is made later under its name.
//!
//! Brokers have given topics ids since Kafka 2.8; those of older ones have none. The crate rdkafka
//! has no call for them, librdkafka does (`rd_kafka_DescribeTopics`, KIP-516).

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::ptr::{null_mut, slice_from_raw_parts};
use std::time::Duration;

use contract::error::Context;
use contract::{Error, Result};
use rdkafka::bindings as native;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long a question may take; librdkafka gives up before.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Room for what librdkafka says of a wrong option.
const COMPLAINT_BYTES: usize = 256;
/// Digits of an id in the name of a split.
const SHORT_DIGITS: usize = 12;

/// The id that the brokers gave a topic when it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u128);

impl TopicId {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    /// Enough of it to tell two topics of one name apart.
    pub fn short(&self) -> String {
        self.to_string()[..SHORT_DIGITS].to_owned()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Asks for the ids of topics. Those that are not there, and those of brokers that give none, are
/// left out. Blocks. `client` is a client of librdkafka that lives.
///
/// # Errors
/// The answer of the brokers.
#[allow(unsafe_code, reason = "rdkafka has no call for this question")]
pub fn ask<'a>(
    client: *mut native::rd_kafka_t,
    names: impl Iterator<Item = &'a str>,
) -> Result<std::result::Result<BTreeMap<String, TopicId>, KafkaError>> {
    let names: Vec<CString> = names
        .map(|name| CString::new(name).bug("a topic's name holds NUL"))
        .collect::<Result<_>>()?;
    if names.is_empty() {
        return Ok(Ok(BTreeMap::new()));
    }
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let limit_ms = i32::try_from(ANSWER_LIMIT.as_millis()).unwrap_or(i32::MAX);
    let mut complaint: [c_char; COMPLAINT_BYTES] = [0; COMPLAINT_BYTES];
    // SAFETY: the client outlives the call, the names outlive the collection, which copies them;
    // whatever librdkafka makes here is destroyed here, the event last of all that is read from.
    unsafe {
        let topics =
            native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = native::rd_kafka_AdminOptions_new(client, kind);
        let request_ms = limit_ms * 3 / 4;
        let (text, size) = (complaint.as_mut_ptr(), COMPLAINT_BYTES);
        native::rd_kafka_AdminOptions_set_request_timeout(options, request_ms, text, size);
        let queue = native::rd_kafka_queue_new(client);
        native::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = native::rd_kafka_queue_poll(queue, limit_ms);
        let answer = match event.is_null() {
            true => Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)),
            false => read(event),
        };
        if !event.is_null() {
            native::rd_kafka_event_destroy(event);
        }
        native::rd_kafka_queue_destroy(queue);
        native::rd_kafka_AdminOptions_destroy(options);
        native::rd_kafka_TopicCollection_destroy(topics);
        Ok(answer)
    }
}

/// The ids in an answer.
///
/// # Safety
/// `event` is an event of librdkafka that lives.
#[allow(unsafe_code, reason = "rdkafka has no call for this question")]
unsafe fn read(
    event: *mut native::rd_kafka_event_t,
) -> std::result::Result<BTreeMap<String, TopicId>, KafkaError> {
    // SAFETY: what is read belongs to the event, whose caller keeps it.
    unsafe {
        let code = RDKafkaErrorCode::from(native::rd_kafka_event_error(event));
        match code {
            RDKafkaErrorCode::NoError => {}
            // Brokers before 2.8 give no ids.
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion => {
                return Ok(BTreeMap::new());
            }
            code => return Err(KafkaError::AdminOp(code)),
        }
        let result = native::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let found = match result.is_null() {
            true => null_mut(),
            false => native::rd_kafka_DescribeTopics_result_topics(result, &mut count),
        };
        let mut ids = BTreeMap::new();
        if found.is_null() {
            return Ok(ids);
        }
        for topic in &*slice_from_raw_parts(found, count) {
            let failure = native::rd_kafka_TopicDescription_error(*topic);
            let code = native::rd_kafka_error_code(failure);
            if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
                continue;
            }
            let id = native::rd_kafka_TopicDescription_topic_id(*topic);
            let name = native::rd_kafka_TopicDescription_name(*topic);
            if id.is_null() || name.is_null() {
                continue;
            }
            let most = native::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let least = native::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            let id = (u128::from(most) << 64) | u128::from(least);
            if id != 0 {
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                ids.insert(name, TopicId(id));
            }
        }
        Ok(ids)
    }
}

/// The error of a topic that has taken the place of another one.
pub fn made_anew(topic: &str, before: TopicId, now: TopicId) -> Error {
    Error::external(format!("topic {topic:?} was deleted and made anew"))
        .because(format!("its id was {before} and is {now}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_what_it_writes() {
        let id = TopicId(0xab);
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        assert_eq!(id.short(), "000000000000");
        assert_eq!(TopicId::parse("no id"), None);
    }
}
