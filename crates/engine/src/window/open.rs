//! The windows that are open, and their form in a checkpoint.
//!
//! The rows of an epoch make groups of their own, by pane. At its end these become a part of their
//! pane that never changes; parts are merged when they are many, and when a window closes. A pane
//! is kept until the last window that it belongs to is closed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Cursor;
use std::ops::Range;

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
use super::times::Windows;

/// Parts of a pane from which on they are merged.
const PARTS_MAX: usize = 8;
/// The rules by which parts are made.
const RULES: u32 = 1;

/// What came of one pane before the epoch under way.
#[derive(Default)]
struct Pane {
    parts: Vec<Part>,
    /// Rows in the parts.
    rows: u64,
}

/// Groups of a pane that stay as they are.
struct Part {
    groups: RecordBatch,
    /// Bytes that they take.
    bytes: u64,
}

/// What came of the windows that are open, by pane.
#[derive(Default)]
pub struct Open {
    panes: BTreeMap<i64, Pane>,
    /// What came in the epoch under way.
    fresh: BTreeMap<i64, Groups>,
    /// All windows that begin before this one are closed.
    next: Option<i64>,
    /// Bytes of all parts.
    bytes: u64,
}

/// What stands before the parts in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Header {
    rules: u32,
    /// What was made: of other rows or by other groups it would be something else.
    signature: String,
    /// The beginning of the pane of each part.
    starts: Vec<i64>,
    /// The first window that is not closed.
    #[serde(default)]
    next: Option<i64>,
}

impl Open {
    /// The groups of the rows of this epoch in a pane.
    ///
    /// # Errors
    /// Bug: they cannot be made.
    pub fn fresh(&mut self, pane: i64, plan: &Plan) -> Result<&mut Groups> {
        Ok(match self.fresh.entry(pane) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Groups::new(&plan.group_fields, &plan.aggregates)?)
            }
        })
    }

    /// The first window that is not closed: all that begin before it are. None before the first
    /// watermark.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// Begins where event time stood, unless it is known which windows are closed.
    pub fn begin_at(&mut self, windows: &Windows, watermark_us: Option<i64>) {
        let held = self.panes.keys().next().map(|pane| windows.span.first(*pane));
        let passed = watermark_us.map(|us| windows.first_open(us));
        self.next = self.next.or(passed.map(|next| held.map_or(next, |held| held.min(next))));
    }

    /// Takes the first window that has rows and is closed at a watermark, whole; none if none is.
    ///
    /// # Errors
    /// Bug: its parts do not fit together, or rows are missing in them.
    pub fn take_due(
        &mut self,
        (plan, windows): (&Plan, &Windows),
        until_us: i64,
    ) -> Result<Option<(i64, Groups)>> {
        let Some(start) = self.first(windows) else { return Ok(None) };
        if windows.closed_at(start) > until_us {
            return Ok(None);
        }
        let (whole, rows) = self.whole(plan, start..windows.span.end(start))?;
        if whole.rows() != rows {
            let found = whole.rows();
            return Err(Error::bug(format!("a window holds {found} rows, {rows} went in")));
        }
        self.pass(windows, windows.span.after(start));
        Ok(Some((start, whole)))
    }

    /// All windows are closed that begin before this one.
    pub fn pass(&mut self, windows: &Windows, next: i64) {
        let next = self.next.max(Some(next)).unwrap_or(next);
        self.next = Some(next);
        while let Some(pane) = self.panes.first_entry() {
            if windows.span.last(*pane.key()) >= next {
                break;
            }
            self.bytes -= pane.remove().bytes();
        }
    }

    /// The first window with rows that is not closed.
    fn first(&self, windows: &Windows) -> Option<i64> {
        let pane = self.panes.keys().next()?;
        Some(windows.span.first(*pane).max(self.next.unwrap_or(i64::MIN)))
    }

    /// The groups of all panes of a window, and the rows that went into them.
    fn whole(&self, plan: &Plan, window: Range<i64>) -> Result<(Groups, u64)> {
        let mut whole = Groups::new(&plan.group_fields, &plan.aggregates)?;
        let mut rows = 0;
        for pane in self.panes.range(window).map(|(_, pane)| pane) {
            rows += pane.rows;
            pane.merge_into(&mut whole, plan)?;
        }
        Ok((whole, rows))
    }

    /// Makes parts of what came in the epoch that ends.
    ///
    /// # Errors
    /// Bug: parts do not fit together.
    pub fn settle(&mut self, plan: &Plan) -> Result<()> {
        for (start, mut fresh) in std::mem::take(&mut self.fresh) {
            let pane = self.panes.entry(start).or_default();
            self.bytes -= pane.bytes();
            pane.rows += fresh.rows();
            pane.parts.push(Part::made(fresh.partial(plan)?));
            if pane.parts.len() >= PARTS_MAX {
                let mut whole = Groups::new(&plan.group_fields, &plan.aggregates)?;
                pane.merge_into(&mut whole, plan)?;
                pane.parts = vec![Part::made(whole.partial(plan)?)];
            }
            self.bytes += pane.bytes();
        }
        Ok(())
    }

    /// What they hold.
    pub fn held(&self, windows: &Windows) -> Held {
        let next = self.next.unwrap_or(i64::MIN);
        let mut held = Held::default();
        // Windows that an earlier pane belongs to were counted.
        let mut counted = next;
        for (pane, rows) in self.rows() {
            held.rows += rows * windows.open_of(pane, next);
            held.windows += windows.open_of(pane, counted);
            let last = windows.span.last(pane);
            if last >= next {
                let first = windows.span.first(pane).max(next);
                held.first_us.get_or_insert(windows.closed_at(first));
                held.last_us = Some(windows.closed_at(last));
            }
            counted = counted.max(windows.span.after(last));
        }
        held
    }

    /// The panes that have rows, with how many.
    fn rows(&self) -> BTreeMap<i64, u64> {
        let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
        self.panes.iter().for_each(|(start, pane)| *rows.entry(*start).or_default() += pane.rows);
        self.fresh.iter().for_each(|(start, one)| *rows.entry(*start).or_default() += one.rows());
        rows
    }

    /// When the last window is closed of those that have rows and are closed by some time.
    pub fn last_by(&self, windows: &Windows, by_us: i64) -> Option<i64> {
        let closed = windows.span.before(windows.first_open(by_us));
        let open = self.next.unwrap_or(i64::MIN);
        let mut ends = self.panes.keys().rev().filter_map(|pane| {
            let last = windows.span.last(*pane).min(closed);
            (last >= windows.span.first(*pane).max(open)).then(|| windows.closed_at(last))
        });
        ends.next()
    }

    /// Bytes of what came before.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of what came in the epoch under way.
    pub fn fresh_bytes(&self) -> u64 {
        self.fresh.values().map(Groups::bytes).sum()
    }

    /// Their form in a checkpoint, once all of them are settled.
    ///
    /// # Errors
    /// Bug: it cannot be written.
    pub fn write(&self, plan: &Plan, signature: &str) -> Result<Bytes> {
        let parts = || {
            let all = self.panes.iter();
            all.flat_map(|(start, pane)| pane.parts.iter().map(|part| (*start, &part.groups)))
        };
        let starts = parts().map(|(start, _)| start).collect();
        let (signature, next) = (signature.to_owned(), self.next);
        let header = Header { rules: RULES, signature, starts, next };
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
            let next = header.next.filter(|_| header.signature == signature);
            return Ok(Self { next, ..Self::default() });
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
        let mut open = Self { next: header.next, ..Self::default() };
        let parts = reader.map_err(|error| strange().because(error))?;
        for (start, part) in header.starts.into_iter().zip(parts) {
            let part = part.map_err(|error| strange().because(error))?;
            let pane = open.panes.entry(start).or_default();
            let rows = part.columns().last().and_then(|rows| rows.as_primitive_opt::<Int64Type>());
            let rows = rows.ok_or_else(strange)?.values().iter().sum::<i64>();
            pane.rows += rows.unsigned_abs();
            let part = Part::read(part).map_err(|error| strange().because(error))?;
            open.bytes += part.bytes;
            pane.parts.push(part);
        }
        Ok(open)
    }
}

impl Pane {
    /// Bytes of its parts.
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Adds all of its rows to groups.
    fn merge_into(&self, groups: &mut Groups, plan: &Plan) -> Result<()> {
        self.parts.iter().try_for_each(|part| groups.merge(plan, &part.groups))
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
