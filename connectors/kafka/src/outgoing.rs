//! The rows of one batch as records: destination, key, value, headers.
//!
//! Nothing is sent here. A row that no topic takes is refused with the reason.

use std::io::Write;

use arrow::array::RecordBatch;
use contract::Result;
use contract::record::Origins;
use contract::sink::SinkReject;
use rdkafka::message::{Header, OwnedHeaders};

use crate::admin::Topic;
use crate::headers;
use crate::sink::Templates;
use crate::template::Cells;
use crate::values::{Encoded, Values};

/// What a record takes in the log beside key, value and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 40;
/// What a header takes beside its name and its value, at most.
const HEADER_OVERHEAD_BYTES: usize = 10;

/// A batch, ready to be sent row by row.
pub struct Outgoing<'a> {
    records: &'a RecordBatch,
    values: Encoded,
    topic: Cells,
    key: Option<Cells>,
    partition: Option<Cells>,
    headers: Vec<(&'a str, Cells)>,
    origins: Origins,
    carries_origin: bool,
}

/// Room in which the parts of one row are put together.
#[derive(Default)]
pub struct Scratch {
    key: Vec<u8>,
    number: Vec<u8>,
}

/// A row as a record.
pub struct Row<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The partition; none lets the key choose.
    pub partition: Option<i32>,
    /// The headers.
    pub headers: OwnedHeaders,
    /// What all of it takes.
    pub bytes: usize,
}

impl<'a> Outgoing<'a> {
    /// Evaluates the templates of a sink over a batch.
    ///
    /// # Errors
    /// Bug: the batch is not as the plan said.
    pub fn new(
        records: &'a RecordBatch,
        templates: &'a Templates,
        values: &Values,
        carries_origin: bool,
    ) -> Result<Self> {
        let cells = |template: &Option<crate::template::Template>| {
            template.as_ref().map(|template| template.cells(records)).transpose()
        };
        let headers = templates.headers.iter();
        let headers = headers.map(|(name, template)| Ok((name.as_str(), template.cells(records)?)));
        Ok(Self {
            records,
            values: values.of(records)?,
            topic: templates.topic.cells(records)?,
            key: cells(&templates.key)?,
            partition: cells(&templates.partition)?,
            headers: headers.collect::<Result<_>>()?,
            origins: Origins::of(records)?,
            carries_origin,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.records.num_rows()
    }

    /// The topic of a row.
    ///
    /// # Errors
    /// The reason for which it has none.
    pub fn topic<'s>(
        &'s self,
        row: usize,
        scratch: &'s mut Vec<u8>,
    ) -> std::result::Result<&'s str, String> {
        let name = self.topic.render(row, scratch).ok_or("a column in the topic is null")?;
        std::str::from_utf8(name).map_err(|_| "the name of the topic is no text".to_owned())
    }

    /// A row as a record for a topic.
    ///
    /// # Errors
    /// The reason for which the topic will never take it.
    pub fn row<'s>(
        &'s self,
        row: usize,
        topic: &Topic,
        scratch: &'s mut Scratch,
    ) -> std::result::Result<Row<'s>, String> {
        let Scratch { key, number } = scratch;
        let partition = self.partition(row, topic.partitions, number)?;
        let (headers, header_bytes) = self.headers(row, number);
        let key = self.key.as_ref().and_then(|cells| cells.render(row, key));
        if topic.needs_key && key.is_none() {
            return Err("the topic is compacted and takes no record without a key".to_owned());
        }
        let value = self.values.value(row);
        let bytes = RECORD_OVERHEAD_BYTES
            + key.map_or(0, <[u8]>::len)
            + value.map_or(0, <[u8]>::len)
            + header_bytes;
        if bytes > topic.record_bytes_max {
            let limit = topic.record_bytes_max;
            return Err(format!("the record has {bytes} bytes, the topic takes {limit}"));
        }
        Ok(Row { key, value, partition, headers, bytes })
    }

    fn partition(
        &self,
        row: usize,
        count: i32,
        scratch: &mut Vec<u8>,
    ) -> std::result::Result<Option<i32>, String> {
        let Some(text) = self.partition.as_ref().and_then(|cells| cells.render(row, scratch))
        else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(text);
        match text.parse().ok().filter(|number| (0..count).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{text:?} is none of the topic's {count} partitions")),
        }
    }

    /// The headers, and the bytes that they take.
    fn headers(&self, row: usize, scratch: &mut Vec<u8>) -> (OwnedHeaders, usize) {
        let mut building =
            Building { headers: OwnedHeaders::new_with_capacity(self.headers.len() + 4), bytes: 0 };
        for (name, cells) in &self.headers {
            if let Some(value) = cells.render(row, scratch) {
                building = building.with(name, value);
            }
        }
        if self.carries_origin {
            building = building.with(headers::SPLIT, self.origins.split(row).as_bytes());
            for (name, number) in self.numbers(row) {
                scratch.clear();
                write!(scratch, "{number}").expect("memory takes it");
                building = building.with(name, scratch);
            }
        }
        (building.headers, building.bytes)
    }

    /// The headers that say which record a row is of.
    fn numbers(&self, row: usize) -> impl Iterator<Item = (&'static str, i64)> {
        let numbers = self.origins.numbers();
        let ordinal = numbers.has_ordinals().then(|| (headers::ORDINAL, numbers.ordinal(row)));
        let position = (headers::POSITION, numbers.position(row));
        [position, (headers::EPOCH, self.origins.epoch(row))].into_iter().chain(ordinal)
    }

    /// A row that is refused.
    pub fn reject(&self, row: usize, reason: String) -> SinkReject {
        self.origins.refuse(row, reason)
    }
}

struct Building {
    headers: OwnedHeaders,
    bytes: usize,
}

impl Building {
    fn with(self, key: &str, value: &[u8]) -> Self {
        Self {
            bytes: self.bytes + key.len() + value.len() + HEADER_OVERHEAD_BYTES,
            headers: self.headers.insert(Header { key, value: Some(value) }),
        }
    }
}
