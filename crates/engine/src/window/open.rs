//! The windows that are open, and their form in a checkpoint.
//!
//! The rows of an epoch make groups of their own. At its end these become a part of their window
//! that never changes; parts are merged when they are many, and when the window closes.

use std::collections::BTreeMap;
use std::io::Cursor;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use contract::error::Context;
use contract::transform::Held;
use contract::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Plan;
use super::groups::Groups;
use super::times::Tumbling;

/// Parts of a window from which on they are merged.
const PARTS_MAX: usize = 8;
/// The rules by which parts are made.
const RULES: u32 = 1;

/// An open window.
#[derive(Default)]
struct Window {
    /// What came in the epoch under way.
    fresh: Option<Groups>,
    /// What came before.
    parts: Vec<Part>,
    /// Rows in the parts.
    rows: u64,
}

/// Groups of a window that stay as they are.
struct Part {
    groups: RecordBatch,
    /// Bytes that they take.
    bytes: u64,
}

/// The windows that are open, by their beginning.
#[derive(Default)]
pub struct Open {
    windows: BTreeMap<i64, Window>,
    /// Bytes of all parts.
    bytes: u64,
}

/// What stands before the parts in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Header {
    rules: u32,
    /// What was made: of other rows or by other groups it would be something else.
    signature: String,
    /// The beginning of the window of each part.
    starts: Vec<i64>,
}

impl Open {
    /// The groups of the rows of this epoch in a window.
    ///
    /// # Errors
    /// Bug: they cannot be made.
    pub fn fresh(&mut self, start: i64, plan: &Plan) -> Result<&mut Groups> {
        let window = self.windows.entry(start).or_default();
        if window.fresh.is_none() {
            window.fresh = Some(Groups::new(&plan.group_fields, &plan.aggregates)?);
        }
        window.fresh.as_mut().ok_or_else(|| Error::bug("a window without groups"))
    }

    /// Takes the first window that is closed, whole; none if none is.
    ///
    /// # Errors
    /// Bug: its parts do not fit together, or rows are missing in them.
    pub fn take_due(
        &mut self,
        plan: &Plan,
        is_due: impl Fn(i64) -> bool,
    ) -> Result<Option<(i64, Groups)>> {
        let Some(start) = self.windows.keys().next().copied().filter(|start| is_due(*start)) else {
            return Ok(None);
        };
        let mut window = self.windows.remove(&start).unwrap_or_default();
        self.bytes -= window.bytes();
        window.settle(plan)?;
        let whole = window.whole(plan)?;
        if whole.rows() != window.rows {
            let (found, rows) = (whole.rows(), window.rows);
            return Err(Error::bug(format!("a window holds {found} rows, {rows} went in")));
        }
        Ok(Some((start, whole)))
    }

    /// Makes parts of what came in the epoch that ends.
    ///
    /// # Errors
    /// Bug: parts do not fit together.
    pub fn settle(&mut self, plan: &Plan) -> Result<()> {
        for window in self.windows.values_mut() {
            self.bytes -= window.bytes();
            window.settle(plan)?;
            self.bytes += window.bytes();
        }
        Ok(())
    }

    /// What they hold.
    pub fn held(&self, times: &Tumbling) -> Held {
        let rows = self
            .windows
            .values()
            .map(|window| window.rows + window.fresh.as_ref().map_or(0, Groups::rows));
        let closed = |start: Option<&i64>| start.map(|start| times.closed_at(*start));
        Held {
            rows: rows.sum(),
            windows: self.windows.len() as u64,
            first_us: closed(self.windows.keys().next()),
            last_us: closed(self.windows.keys().next_back()),
            watermark_us: None,
        }
    }

    /// When the last window is closed of those that are closed by some time.
    pub fn last_by(&self, times: &Tumbling, by_us: i64) -> Option<i64> {
        let mut closed = self.windows.keys().rev().map(|start| times.closed_at(*start));
        closed.find(|closed| *closed <= by_us)
    }

    /// Bytes of what came before.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of what came in the epoch under way.
    pub fn fresh_bytes(&self) -> u64 {
        self.windows.values().filter_map(|window| window.fresh.as_ref()).map(Groups::bytes).sum()
    }

    /// Their form in a checkpoint, once all of them are settled.
    ///
    /// # Errors
    /// Bug: it cannot be written.
    pub fn write(&self, plan: &Plan, signature: &str) -> Result<Bytes> {
        let parts = || {
            let all = self.windows.iter();
            all.flat_map(|(start, window)| window.parts.iter().map(|part| (*start, &part.groups)))
        };
        let starts = parts().map(|(start, _)| start).collect();
        let header = Header { rules: RULES, signature: signature.to_owned(), starts };
        let header = serde_json::to_vec(&header).bug("a header is no JSON")?;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        let unwritten = "open windows cannot be written";
        let mut writer = StreamWriter::try_new(&mut bytes, &plan.partial).bug(unwritten)?;
        for (_, part) in parts() {
            writer.write(part).bug(unwritten)?;
        }
        writer.finish().bug(unwritten)?;
        drop(writer);
        Ok(bytes.into())
    }

    /// Takes up what [`Open::write`] gave.
    ///
    /// # Errors
    /// Config: the step makes something else now, and windows are open. Bug: the state is not ours.
    pub fn read(state: &[u8], signature: &str) -> Result<Self> {
        let strange = || Error::bug("the state of a window step is not ours");
        let (length, rest) = state.split_at_checked(8).ok_or_else(strange)?;
        let length = u64::from_le_bytes(length.try_into().map_err(|_| strange())?);
        let length = usize::try_from(length).map_err(|error| strange().because(error))?;
        let (header, parts) = rest.split_at_checked(length).ok_or_else(strange)?;
        let header: Header =
            serde_json::from_slice(header).map_err(|error| strange().because(error))?;
        if header.rules == RULES && header.starts.is_empty() {
            return Ok(Self::default());
        }
        if header.rules != RULES || header.signature != signature {
            return Err(Error::config(
                "windows are open that were made by other settings of the step",
            )
            .hint(
                "run the earlier file once more with `--until-end --flush-windows`, which closes \
                 them; or give the step another name, and the earlier one back until it is empty",
            ));
        }
        let reader = StreamReader::try_new(Cursor::new(parts), None);
        let mut open = Self::default();
        let parts = reader.map_err(|error| strange().because(error))?;
        for (start, part) in header.starts.into_iter().zip(parts) {
            let part = part.map_err(|error| strange().because(error))?;
            let window = open.windows.entry(start).or_default();
            let rows = part.columns().last().and_then(|rows| rows.as_primitive_opt::<Int64Type>());
            let rows = rows.ok_or_else(strange)?.values().iter().sum::<i64>();
            window.rows += rows.unsigned_abs();
            let part = Part::read(part).map_err(|error| strange().because(error))?;
            open.bytes += part.bytes;
            window.parts.push(part);
        }
        Ok(open)
    }
}

impl Window {
    /// Makes a part of what came in the epoch under way.
    fn settle(&mut self, plan: &Plan) -> Result<()> {
        let Some(mut fresh) = self.fresh.take() else { return Ok(()) };
        self.rows += fresh.rows();
        self.parts.push(Part::made(fresh.partial(plan)?));
        if self.parts.len() >= PARTS_MAX {
            self.parts = vec![Part::made(self.whole(plan)?.partial(plan)?)];
        }
        Ok(())
    }

    /// Bytes of its parts.
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// All of its rows as groups.
    fn whole(&self, plan: &Plan) -> Result<Groups> {
        let mut whole = Groups::new(&plan.group_fields, &plan.aggregates)?;
        for part in &self.parts {
            whole.merge(plan, &part.groups)?;
        }
        Ok(whole)
    }
}

impl Part {
    fn made(groups: RecordBatch) -> Self {
        let bytes = groups.get_array_memory_size() as u64;
        Self { groups, bytes }
    }

    /// One that was read: its columns are pieces of one buffer, each of which says the size of all.
    fn read(groups: RecordBatch) -> std::result::Result<Self, ArrowError> {
        let columns = groups.columns().iter();
        let sizes = columns.map(|column| column.to_data().get_slice_memory_size());
        let bytes = sizes.sum::<std::result::Result<usize, _>>()? as u64;
        Ok(Self { groups, bytes })
    }
}
