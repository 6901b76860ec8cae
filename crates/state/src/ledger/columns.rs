//! The ledger by column: as packs and folds keep it, and as the table `ledger` is made of it.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, StringBuilder,
    StringDictionaryBuilder, UInt64Array, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, UInt64Type};
use contract::error::Context;
use contract::{Error, Result};

use super::{COUNTS, Counts, Entry};

/// The epoch of a row.
pub const EPOCH: &str = "epoch";
/// Its split.
pub const SPLIT: &str = "split";
/// Its sink.
pub const SINK: &str = "sink";
/// The sum over its origins, in hexadecimal.
pub const HASH: &str = "hash";
/// The source of the split.
pub const SOURCE: &str = "source";
/// What its source says that the split shares with others; none where it says nothing.
pub const FAMILY: &str = "family";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    let word = |name: &str, may_lack| Field::new(name, words.clone(), may_lack);
    let mut fields = vec![number(EPOCH), word(SPLIT, false), word(SINK, false)];
    fields.extend(COUNTS.map(number));
    fields.extend([Field::new(HASH, DataType::Utf8, false), word(SOURCE, true)]);
    fields.push(word(FAMILY, true));
    Arc::new(Schema::new(fields))
});

/// The columns of the ledger.
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// A row of the ledger with what is known of its split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The epoch.
    pub epoch: u64,
    /// Split, sink, counts and hash.
    pub entry: Entry,
    /// The source of the split, where it is known.
    pub source: Option<String>,
    /// What the source says that the split shares with others.
    pub family: Option<String>,
}

/// Rows that become columns.
pub struct Columns {
    epochs: UInt64Builder,
    splits: StringDictionaryBuilder<Int32Type>,
    sinks: StringDictionaryBuilder<Int32Type>,
    counts: [UInt64Builder; COUNTS.len()],
    hashes: StringBuilder,
    sources: StringDictionaryBuilder<Int32Type>,
    families: StringDictionaryBuilder<Int32Type>,
    rows: usize,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            epochs: UInt64Builder::new(),
            splits: StringDictionaryBuilder::new(),
            sinks: StringDictionaryBuilder::new(),
            counts: std::array::from_fn(|_| UInt64Builder::new()),
            hashes: StringBuilder::new(),
            sources: StringDictionaryBuilder::new(),
            families: StringDictionaryBuilder::new(),
            rows: 0,
        }
    }
}

impl Columns {
    /// Takes in a row.
    pub fn add(&mut self, epoch: u64, entry: &Entry, of: (Option<&str>, Option<&str>)) {
        let (source, family) = of;
        self.epochs.append_value(epoch);
        self.splits.append_value(&entry.split);
        self.sinks.append_value(&entry.sink);
        for (column, count) in self.counts.iter_mut().zip(entry.counts.values()) {
            column.append_value(count);
        }
        self.hashes.append_value(&entry.hash);
        self.sources.append_option(source);
        self.families.append_option(family);
        self.rows += 1;
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows that were taken in since the last call.
    ///
    /// # Errors
    /// Bug: the columns differ in length.
    pub fn take(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.epochs.finish()),
            Arc::new(self.splits.finish()),
            Arc::new(self.sinks.finish()),
        ];
        let counts = self.counts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        columns.extend(counts);
        columns.push(Arc::new(self.hashes.finish()));
        columns.push(Arc::new(self.sources.finish()));
        columns.push(Arc::new(self.families.finish()));
        RecordBatch::try_new(schema(), columns).bug("columns of the ledger differ in length")
    }
}

/// The rows of a batch in the columns of the ledger.
pub struct Rows<'a> {
    epochs: &'a UInt64Array,
    splits: Words<'a>,
    sinks: Words<'a>,
    counts: [&'a UInt64Array; COUNTS.len()],
    hashes: &'a StringArray,
    sources: Words<'a>,
    families: Words<'a>,
}

impl<'a> Rows<'a> {
    /// Looks at a batch by row.
    ///
    /// # Errors
    /// External: it has other columns.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| foreign(name));
        let number = |name: &str| {
            let number = column(name)?.as_primitive_opt::<UInt64Type>();
            number.ok_or_else(|| foreign(name))
        };
        let word = |name: &str| Words::of(column(name)?).ok_or_else(|| foreign(name));
        let mut counts = [number(EPOCH)?; COUNTS.len()];
        for (place, name) in counts.iter_mut().zip(COUNTS) {
            *place = number(name)?;
        }
        let hashes = column(HASH)?.as_string_opt::<i32>().ok_or_else(|| foreign(HASH))?;
        Ok(Self {
            epochs: number(EPOCH)?,
            splits: word(SPLIT)?,
            sinks: word(SINK)?,
            counts,
            hashes,
            sources: word(SOURCE)?,
            families: word(FAMILY)?,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// The epoch of a row.
    pub fn epoch(&self, row: usize) -> u64 {
        self.epochs.value(row)
    }

    /// The split and the sink of a row.
    pub fn key(&self, row: usize) -> (&'a str, &'a str) {
        (self.splits.get(row).unwrap_or_default(), self.sinks.get(row).unwrap_or_default())
    }

    /// The source of the split of a row, where it is known.
    pub fn source(&self, row: usize) -> Option<&'a str> {
        self.sources.get(row)
    }

    /// A row with all that it has.
    pub fn get(&self, row: usize) -> Counted {
        let (split, sink) = self.key(row);
        let counts = Counts::of_values(self.counts.map(|column| column.value(row)));
        let hash = self.hashes.value(row).to_owned();
        Counted {
            epoch: self.epoch(row),
            entry: Entry { split: split.to_owned(), sink: sink.to_owned(), counts, hash },
            source: self.sources.get(row).map(str::to_owned),
            family: self.families.get(row).map(str::to_owned),
        }
    }
}

/// A column of words, each of which is kept once.
struct Words<'a> {
    keys: &'a Int32Array,
    words: &'a StringArray,
}

impl<'a> Words<'a> {
    fn of(column: &'a ArrayRef) -> Option<Self> {
        let column = column.as_dictionary_opt::<Int32Type>()?;
        Some(Self { keys: column.keys(), words: column.values().as_string_opt::<i32>()? })
    }

    fn get(&self, row: usize) -> Option<&'a str> {
        let key = self.keys.is_valid(row).then(|| self.keys.value(row))?;
        Some(self.words.value(usize::try_from(key).ok()?))
    }
}

fn foreign(column: &str) -> Error {
    Error::external(format!("a ledger has no column {column:?} of the right type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_of_columns_as_they_went_in() {
        let counts = Counts { read: 7, delivered: 5, lost: 2, ..Counts::default() };
        let entry = |split: &str| Entry {
            split: split.to_owned(),
            sink: "lake".to_owned(),
            counts,
            hash: "00ff".to_owned(),
        };
        let mut columns = Columns::default();
        columns.add(3, &entry("a"), (Some("access"), Some("eu")));
        columns.add(4, &entry("b"), (None, None));
        assert_eq!(columns.len(), 2);
        let batch = columns.take().expect("columns");
        assert!(columns.is_empty());
        let rows = Rows::of(&batch).expect("the ledger's");
        assert_eq!((rows.len(), rows.key(1)), (2, ("b", "lake")));
        let (source, family) = (Some("access".to_owned()), Some("eu".to_owned()));
        assert_eq!(rows.get(0), Counted { epoch: 3, entry: entry("a"), source, family });
        let bare = Counted { epoch: 4, entry: entry("b"), source: None, family: None };
        assert_eq!(rows.get(1), bare);
        assert!(Rows::of(&batch.project(&[0, 1]).expect("two columns")).is_err());
    }
}
