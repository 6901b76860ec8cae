//! Columns of numbers, times and repeated words in the making.
//!
//! Not text: see [`crate::text`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, DictionaryArray, Int32Array,
    PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{DataType, Int32Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::bit_util;

use crate::text::short_view;

/// How a time is stored: microseconds since 1970, UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// How a repeated word is stored.
pub fn word_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Which rows of a column in the making hold nothing. The others cost nothing here.
#[derive(Default)]
pub struct Nulls(Vec<u32>);

impl Nulls {
    /// The row of this number holds nothing.
    #[inline]
    pub fn push(&mut self, row: usize) {
        self.0.push(row as u32);
    }

    /// The nulls of a finished column of so many rows, if there are any.
    pub fn finish(self, rows: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        let mut bits = vec![u8::MAX; rows.div_ceil(8)];
        for row in self.0 {
            bit_util::unset_bit(&mut bits, row as usize);
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows)))
    }
}

/// A column of numbers.
pub struct NumberColumn<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: Nulls,
}

impl<T: ArrowPrimitiveType> NumberColumn<T> {
    /// An empty column.
    pub fn new(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), nulls: Nulls::default() }
    }

    /// Adds a number or nothing.
    #[inline]
    pub fn push(&mut self, value: Option<T::Native>) {
        if value.is_none() {
            self.nulls.push(self.values.len());
        }
        self.values.push(value.unwrap_or_default());
    }

    fn array(self) -> PrimitiveArray<T> {
        let nulls = self.nulls.finish(self.values.len());
        PrimitiveArray::new(self.values.into(), nulls)
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
    nulls: Nulls,
}

impl BooleanColumn {
    /// An empty column.
    pub fn new(rows: usize) -> Self {
        Self { values: BooleanBufferBuilder::new(rows), nulls: Nulls::default() }
    }

    /// Adds a truth or nothing.
    pub fn push(&mut self, value: Option<bool>) {
        if value.is_none() {
            self.nulls.push(self.values.len());
        }
        self.values.append(value.unwrap_or_default());
    }

    /// The finished column.
    pub fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish(self.values.len());
        Arc::new(BooleanArray::new(self.values.finish(), nulls))
    }
}

/// The first short words of a column are found by comparing, the others by hashing.
const COMPARED_WORDS: usize = 4;

/// A column of words that repeat, kept as a dictionary.
pub struct WordColumn<'a> {
    keys: Vec<i32>,
    nulls: Nulls,
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
            nulls: Nulls::default(),
            words: Vec::new(),
            index: HashMap::new(),
            compared: Vec::with_capacity(COMPARED_WORDS),
        }
    }

    /// Adds a word or nothing.
    #[inline]
    pub fn push(&mut self, word: Option<&'a str>) {
        if word.is_none() {
            self.nulls.push(self.keys.len());
        }
        let key = word.map_or(0, |word| self.key(word));
        self.keys.push(key);
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
        let nulls = self.nulls.finish(self.keys.len());
        let keys = Int32Array::new(self.keys.into(), nulls);
        let words = Arc::new(StringArray::from(self.words));
        Arc::new(DictionaryArray::<Int32Type>::new(keys, words))
    }
}
