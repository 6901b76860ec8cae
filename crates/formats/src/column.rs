//! Columns of numbers, times and repeated words in the making.
//!
//! Not text: see [`crate::text`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, DictionaryArray, Int32Array,
    PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Int32Type, TimeUnit, TimestampMicrosecondType};

use crate::text::short_view;

/// How a time is stored: microseconds since 1970, UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// How a repeated word is stored.
pub fn word_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Which rows of a column in the making hold something. A byte a row: packing them in the end costs
/// less than setting bits one by one.
pub struct Presence {
    rows: Vec<bool>,
    nulls: usize,
}

impl Presence {
    /// Of an empty column.
    pub fn new(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), nulls: 0 }
    }

    /// Adds a row.
    #[inline]
    pub fn push(&mut self, is_there: bool) {
        self.rows.push(is_there);
        self.nulls += usize::from(!is_there);
    }

    /// The nulls of the finished column, if there are any.
    pub fn finish(self) -> Option<NullBuffer> {
        let bits = || BooleanBuffer::collect_bool(self.rows.len(), |row| self.rows[row]);
        (self.nulls > 0).then(|| NullBuffer::new(bits()))
    }
}

/// A column of numbers.
pub struct NumberColumn<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    presence: Presence,
}

impl<T: ArrowPrimitiveType> NumberColumn<T> {
    /// An empty column.
    pub fn new(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), presence: Presence::new(rows) }
    }

    /// Adds a number or nothing.
    #[inline]
    pub fn push(&mut self, value: Option<T::Native>) {
        self.values.push(value.unwrap_or_default());
        self.presence.push(value.is_some());
    }

    fn array(self) -> PrimitiveArray<T> {
        PrimitiveArray::new(self.values.into(), self.presence.finish())
    }

    /// The finished column.
    pub fn finish(self) -> ArrayRef {
        Arc::new(self.array())
    }
}

impl NumberColumn<TimestampMicrosecondType> {
    /// The finished column of times.
    pub fn finish_times(self) -> ArrayRef {
        Arc::new(self.array().with_timezone("UTC"))
    }
}

/// A column of truths.
pub struct BooleanColumn {
    values: BooleanBufferBuilder,
    presence: Presence,
}

impl BooleanColumn {
    /// An empty column.
    pub fn new(rows: usize) -> Self {
        Self { values: BooleanBufferBuilder::new(rows), presence: Presence::new(rows) }
    }

    /// Adds a truth or nothing.
    pub fn push(&mut self, value: Option<bool>) {
        self.values.append(value.unwrap_or_default());
        self.presence.push(value.is_some());
    }

    /// The finished column.
    pub fn finish(mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(), self.presence.finish()))
    }
}

/// The first short words of a column are found by comparing, the others by hashing.
const COMPARED_WORDS: usize = 4;

/// A column of words that repeat, kept as a dictionary.
pub struct WordColumn<'a> {
    keys: Vec<i32>,
    presence: Presence,
    words: Vec<&'a str>,
    index: HashMap<&'a str, i32>,
    /// Views of the first words, which tell short words apart; none for a long one.
    compared: Vec<Option<u128>>,
}

impl<'a> WordColumn<'a> {
    /// An empty column.
    pub fn new(rows: usize) -> Self {
        Self {
            keys: Vec::with_capacity(rows),
            presence: Presence::new(rows),
            words: Vec::new(),
            index: HashMap::new(),
            compared: Vec::with_capacity(COMPARED_WORDS),
        }
    }

    /// Adds a word or nothing.
    #[inline]
    pub fn push(&mut self, word: Option<&'a str>) {
        let key = word.map_or(0, |word| self.key(word));
        self.keys.push(key);
        self.presence.push(word.is_some());
    }

    #[inline]
    fn key(&mut self, word: &'a str) -> i32 {
        let view = short_view(word);
        if view.is_some()
            && let Some(key) = self.compared.iter().position(|known| *known == view)
        {
            return key as i32;
        }
        let (words, compared) = (&mut self.words, &mut self.compared);
        *self.index.entry(word).or_insert_with(|| {
            words.push(word);
            if compared.len() < COMPARED_WORDS {
                compared.push(view);
            }
            (words.len() - 1) as i32
        })
    }

    /// The finished column.
    pub fn finish(self) -> ArrayRef {
        let keys = Int32Array::new(self.keys.into(), self.presence.finish());
        let words = Arc::new(StringArray::from(self.words));
        Arc::new(DictionaryArray::<Int32Type>::new(keys, words))
    }
}
