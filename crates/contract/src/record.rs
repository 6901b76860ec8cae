//! The columns that travel beside a user's own, and the hash that proves them.
//!
//! A source puts [`POSITION`] into every batch; a step that makes several rows of one record adds
//! [`ORDINAL`], and so does the runtime where several ways from one split meet; it adds [`SPLIT`]
//! and [`EPOCH`] where a batch enters a sink. All batches in the flow hold rows of one split only.

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};

use crate::sink::SinkReject;
use crate::source::Reject;
use crate::{Error, Result, SplitId};

/// The text of a record as a byte source gives it (`Utf8View`).
pub const MESSAGE: &str = "message";
/// Whether bad UTF-8 in the record was replaced by U+FFFD (`Boolean`).
pub const LOSSY: &str = "_lossy";
/// The number of the record in its split (`Int64`, never null).
pub const POSITION: &str = "_position";
/// The number of the row among those made of one record (`Int64`); absent means 0.
pub const ORDINAL: &str = "_ordinal";
/// The split that the record was read from (dictionary text).
pub const SPLIT: &str = "_split";
/// The epoch that delivered the row (`Int64`).
pub const EPOCH: &str = "_epoch";

/// The key of an Arrow field's metadata that says how the text of its column is to be understood.
const MARK: &str = "logmill.text";
/// The mark of columns whose every text is one JSON value.
const JSON: &str = "json";

/// Marks a column of text: each of its values is one valid JSON value, and is delivered as such.
/// Only who makes the values may say so; a column that is computed of it has no mark.
#[must_use]
pub fn with_json_mark(mut field: Field) -> Field {
    field.metadata_mut().insert(MARK.to_owned(), JSON.to_owned());
    field
}

/// Whether each text of a column is one valid JSON value.
pub fn is_json(field: &Field) -> bool {
    field.metadata().get(MARK).is_some_and(|mark| mark == JSON)
}

/// Takes the mark of a column away where another column, whose rows come in between, has none.
pub fn keep_common_mark(field: &mut Field, other: &Field) {
    if !is_json(other) {
        field.metadata_mut().remove(MARK);
    }
}

/// The schema of every source that reads bytes: `message`, `_lossy`, `_position`.
pub fn message_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(MESSAGE, DataType::Utf8View, false),
        Field::new(LOSSY, DataType::Boolean, false),
        position_field(),
    ]))
}

/// The field of the column [`POSITION`].
pub fn position_field() -> Field {
    Field::new(POSITION, DataType::Int64, false)
}

/// Whether a column is ours rather than the user's.
pub fn is_origin(name: &str) -> bool {
    matches!(name, POSITION | ORDINAL | SPLIT | EPOCH)
}

/// The positions of the rows of a batch.
///
/// # Errors
/// Bug: the batch has no such column of 64-bit integers; every step must carry it.
pub fn positions(batch: &RecordBatch) -> Result<&Int64Array> {
    batch
        .column_by_name(POSITION)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| Error::bug("a batch lost its column \"_position\""))
}

/// The ordinals of the rows of a batch, where rows are numbered; null counts as 0.
pub fn ordinals(batch: &RecordBatch) -> Option<&Int64Array> {
    batch.column_by_name(ORDINAL).and_then(|column| column.as_primitive_opt::<Int64Type>())
}

/// The numbers of the rows of a batch in the flow: which record, and which row of it.
#[derive(Clone, Debug)]
pub struct Numbers {
    positions: Int64Array,
    ordinals: Option<Int64Array>,
}

impl Numbers {
    /// The numbers of a batch, whose columns they share.
    ///
    /// # Errors
    /// Bug: the batch lost its positions.
    pub fn of(batch: &RecordBatch) -> Result<Self> {
        Ok(Self { positions: positions(batch)?.clone(), ordinals: ordinals(batch).cloned() })
    }

    /// The number of a row's record in its split.
    pub fn position(&self, row: usize) -> i64 {
        self.positions.value(row)
    }

    /// The number of a row among those made of its record; 0 where rows have none.
    pub fn ordinal(&self, row: usize) -> i64 {
        let ordinals = self.ordinals.as_ref().filter(|ordinals| ordinals.is_valid(row));
        ordinals.map_or(0, |ordinals| ordinals.value(row))
    }

    /// Whether rows have ordinals of their own.
    pub fn has_ordinals(&self) -> bool {
        self.ordinals.is_some()
    }

    /// A row as one that is refused. Its original is read again by who knows the source, unless
    /// [`Reject::with_original`] gives it.
    pub fn refuse(&self, row: usize, reason: impl Into<String>) -> Reject {
        Reject::new(self.position(row), reason).with_ordinal(self.ordinal(row))
    }
}

/// Where the rows of a batch came from, as [`for_sink`] gives them to a sink.
#[derive(Clone, Debug)]
pub struct Origins {
    splits: Int32Array,
    names: StringArray,
    numbers: Numbers,
    epochs: Int64Array,
}

impl Origins {
    /// The origins of a batch, whose columns they share.
    ///
    /// # Errors
    /// Bug: the batch is not as it entered the sink.
    pub fn of(batch: &RecordBatch) -> Result<Self> {
        let lost = || Error::bug("a batch lost its origin");
        let splits = batch.column_by_name(SPLIT);
        let splits = splits.and_then(|column| column.as_dictionary_opt::<Int32Type>());
        let splits = splits.ok_or_else(lost)?;
        let names = splits.values().as_string_opt::<i32>().ok_or_else(lost)?;
        let epochs = batch.column_by_name(EPOCH);
        let epochs = epochs.and_then(|column| column.as_primitive_opt::<Int64Type>());
        Ok(Self {
            splits: splits.keys().clone(),
            names: names.clone(),
            numbers: Numbers::of(batch)?,
            epochs: epochs.ok_or_else(lost)?.clone(),
        })
    }

    /// The split of a row.
    pub fn split(&self, row: usize) -> &str {
        self.names.value(usize::try_from(self.splits.value(row)).unwrap_or(0))
    }

    /// The numbers of the rows in their splits.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The epoch that delivers a row.
    pub fn epoch(&self, row: usize) -> i64 {
        self.epochs.value(row)
    }

    /// A row as one that the sink will never take.
    pub fn refuse(&self, row: usize, reason: impl Into<String>) -> SinkReject {
        let split = SplitId::new(self.split(row));
        SinkReject { split, reject: self.numbers.refuse(row, reason) }
    }
}

/// The schema with the column [`ORDINAL`] at its end.
pub fn with_ordinal(schema: &Schema) -> SchemaRef {
    let others = schema.fields().iter().filter(|field| field.name() != ORDINAL).cloned();
    let ordinal = Arc::new(Field::new(ORDINAL, DataType::Int64, false));
    Arc::new(Schema::new(others.chain([ordinal]).collect::<Vec<_>>()))
}

/// A batch in the columns of [`with_ordinal`], each row with the number that `change` makes of the
/// one that it had.
///
/// # Errors
/// Bug: the columns do not make a batch.
pub fn renumbered(batch: &RecordBatch, change: impl Fn(i64) -> i64) -> Result<RecordBatch> {
    let schema = with_ordinal(batch.schema_ref());
    let numbers: Int64Array = match ordinals(batch) {
        None => Int64Array::from(vec![change(0); batch.num_rows()]),
        Some(ordinals) => ordinals.iter().map(|old| Some(change(old.unwrap_or(0)))).collect(),
    };
    let fields = batch.schema_ref().fields().iter().zip(batch.columns());
    let others = fields.filter(|(field, _)| field.name() != ORDINAL);
    let others = others.map(|(_, column)| column.clone());
    let columns = others.chain([Arc::new(numbers) as _]).collect();
    RecordBatch::try_new(schema, columns)
        .map_err(|error| Error::bug("rows could not be numbered").because(error))
}

/// The schema with which rows enter a sink: the user's columns, then split, position, epoch.
pub fn sink_schema(schema: &Schema, with_origin: bool) -> SchemaRef {
    let mut fields: Vec<_> =
        schema.fields().iter().filter(|field| !is_origin(field.name())).cloned().collect();
    if with_origin {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        fields.push(Arc::new(Field::new(SPLIT, dictionary, false)));
        fields.push(Arc::new(position_field()));
        if schema.index_of(ORDINAL).is_ok() {
            fields.push(Arc::new(Field::new(ORDINAL, DataType::Int64, false)));
        }
        fields.push(Arc::new(Field::new(EPOCH, DataType::Int64, false)));
    }
    Arc::new(Schema::new(fields))
}

/// Brings a batch of one split into the form of [`sink_schema`].
///
/// # Errors
/// Bug: the batch does not have the columns that `schema` names.
pub fn for_sink(
    batch: &RecordBatch,
    schema: &SchemaRef,
    split: &SplitId,
    epoch: u64,
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        SPLIT => {
            let keys = Int32Array::from(vec![0; rows]);
            let values = Arc::new(StringArray::from(vec![split.as_str()]));
            let array = DictionaryArray::<Int32Type>::try_new(keys, values);
            Ok(Arc::new(array.map_err(|error| Error::bug("split column").because(error))?) as _)
        }
        EPOCH => Ok(Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows])) as _),
        name => batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| Error::bug(format!("a batch lost its column {name:?}"))),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::bug("a batch does not have its declared columns").because(error))
}

/// An order-independent sum over (split, position, ordinal) of rows, with their number.
///
/// Sums wrap in 128 bits. XOR would not do: a row that stands twice would cancel out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginSum {
    /// Number of rows.
    pub rows: u64,
    /// Wrapping sum of the rows' hashes.
    pub hash: u128,
}

impl OriginSum {
    /// Adds one row of the split whose [`split_seed`] is given.
    #[inline]
    pub fn add(&mut self, seed: u128, position: i64, ordinal: i64) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(mix(seed, position, ordinal));
    }

    /// Adds all rows of a batch of one split.
    ///
    /// # Errors
    /// Bug: the batch lost its positions.
    pub fn add_batch(&mut self, seed: u128, batch: &RecordBatch) -> Result<()> {
        let positions = positions(batch)?.values();
        match ordinals(batch) {
            None => positions.iter().for_each(|position| self.add(seed, *position, 0)),
            Some(ordinals) => {
                for (position, ordinal) in positions.iter().zip(ordinals) {
                    self.add(seed, *position, ordinal.unwrap_or(0));
                }
            }
        }
        Ok(())
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }

    /// Takes another sum away, as when rows were delivered and rejected later.
    pub fn take(&mut self, other: Self) {
        self.rows -= other.rows;
        self.hash = self.hash.wrapping_sub(other.hash);
    }
}

/// The part of a row's hash that its split gives: FNV-1a over 128 bits.
pub fn split_seed(split: &str) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in split.as_bytes() {
        hash ^= u128::from(*byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash
}

#[inline]
fn mix(seed: u128, position: i64, ordinal: i64) -> u128 {
    let low = splitmix((seed as u64) ^ position.cast_unsigned());
    let high = splitmix(((seed >> 64) as u64).wrapping_add(low) ^ ordinal.cast_unsigned());
    (u128::from(high) << 64) | u128::from(low)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
#[inline]
fn splitmix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_ignores_order_and_sees_doubles() {
        let seed = split_seed("a.log");
        let (mut forward, mut backward, mut doubled) =
            <(OriginSum, OriginSum, OriginSum)>::default();
        for position in 0..100 {
            forward.add(seed, position, 0);
            backward.add(seed, 99 - position, 0);
            doubled.add(seed, position, 0);
        }
        assert_eq!(forward, backward);
        doubled.add(seed, 7, 0);
        doubled.add(seed, 7, 0);
        assert_ne!(forward.hash, doubled.hash);
    }

    #[test]
    fn a_row_is_refused_by_its_origin_whatever_its_original() {
        let schema = with_ordinal(&Schema::new(vec![position_field()]));
        let numbers = |numbers: [i64; 2]| Arc::new(Int64Array::from_iter_values(numbers)) as _;
        let flow = RecordBatch::try_new(schema, vec![numbers([4, 5]), numbers([0, 3])]);
        let flow = flow.expect("a batch");
        let split = SplitId::new("a.log");
        let entered = for_sink(&flow, &sink_schema(&flow.schema(), true), &split, 7);
        let origins = Origins::of(&entered.expect("a batch")).expect("origins");
        assert_eq!((origins.split(1), origins.epoch(1)), ("a.log", 7));
        let SinkReject { split, reject } = origins.refuse(1, "too long");
        assert_eq!(split.as_str(), "a.log");
        assert_eq!(reject, Numbers::of(&flow).expect("numbers").refuse(1, "too long"));
        assert_eq!((reject.position, reject.ordinal, reject.original), (5, 3, None));
        let error = Origins::of(&flow).expect_err("it entered no sink");
        assert!(error.to_string().contains("lost its origin"), "{error}");
    }

    #[test]
    fn a_mark_stays_where_all_inputs_have_it() {
        let plain = || Field::new("a", DataType::Utf8View, true);
        let mut field = with_json_mark(plain());
        keep_common_mark(&mut field, &with_json_mark(plain()));
        assert!(is_json(&field));
        keep_common_mark(&mut field, &plain());
        assert_eq!(field, plain());
    }

    #[test]
    fn splits_and_ordinals_change_the_sum() {
        let sum = |split: &str, ordinal| {
            let mut sum = OriginSum::default();
            sum.add(split_seed(split), 1, ordinal);
            sum.hash
        };
        assert_ne!(sum("a", 0), sum("b", 0));
        assert_ne!(sum("a", 0), sum("a", 1));
    }
}
