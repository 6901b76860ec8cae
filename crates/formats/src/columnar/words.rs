//! A column of repeated words that comes as Arrow dictionaries, encoded by key.
//!
//! Parquet's own writer hashes the word of every row again, which costs more than compressing it.
//! Here a word is looked up once a batch, and a row costs the copy of its key. What comes out is
//! what every reader knows: one page of words, and pages of packed keys.
//!
//! Invariant: each word in the chunk stands in a row of it, so that their bounds are its bounds.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use contract::error::Context;
use contract::{Error, Result};
use parquet::basic::{Compression, Encoding};
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{FinishedChunk, PageRows, Pages, Words};
use super::hybrid;

/// A data page ends with the batch that gives it so many rows.
const PAGE_ROWS: usize = 1 << 17;
/// Longer words are no bounds, as they would swell the log.
const BOUND_BYTES_MAX: usize = 1024;

/// A column chunk in the making.
pub struct WordColumn {
    pages: Pages,
    /// The key of each word of the chunk.
    words: HashMap<Box<str>, u32>,
    /// The words in the order of their keys, as they will be stored.
    dictionary: Vec<u8>,
    /// Of the page in the making: for each row 1, or 0 where it is null, empty while none is, and
    /// the keys of the rows that are not.
    levels: Vec<u32>,
    keys: Vec<u32>,
    nulls: usize,
}

/// The key of a word that no row had yet.
const UNKNOWN: u32 = u32::MAX;

impl WordColumn {
    /// Begins a chunk; none if pages cannot be compressed so here.
    pub fn begin(descriptor: ColumnDescPtr, compression: Compression) -> Option<Self> {
        let pages = Pages::begin(descriptor, compression)?;
        let (words, dictionary, levels, keys) = Default::default();
        Some(Self { pages, words, dictionary, levels, keys, nulls: 0 })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Bug: a null where none may be, or a word without a key.
    pub fn push(&mut self, array: &DictionaryArray<Int32Type>) -> Result<()> {
        let words = array
            .values()
            .as_string_opt::<i32>()
            .ok_or_else(|| Error::bug("a dictionary of text holds something else"))?;
        let mut known = vec![UNKNOWN; words.len()];
        match array.is_nullable() {
            true => self.push_nullable(array, words, &mut known)?,
            false => self.push_words(array.keys().values(), words, &mut known)?,
        }
        match self.rows() >= PAGE_ROWS {
            true => self.end_page(),
            false => Ok(()),
        }
    }

    fn rows(&self) -> usize {
        self.keys.len() + self.nulls
    }

    fn push_words(&mut self, keys: &[i32], words: &StringArray, known: &mut [u32]) -> Result<()> {
        for key in keys {
            let word = *key as usize;
            if known[word] == UNKNOWN {
                known[word] = self.key(words, word)?;
            }
        }
        if self.nulls > 0 {
            self.levels.resize(self.levels.len() + keys.len(), 1);
        }
        self.keys.extend(keys.iter().map(|key| known[*key as usize]));
        Ok(())
    }

    fn push_nullable(
        &mut self,
        array: &DictionaryArray<Int32Type>,
        words: &StringArray,
        known: &mut [u32],
    ) -> Result<()> {
        if self.nulls == 0 {
            self.levels.resize(self.keys.len(), 1);
        }
        for key in array.keys() {
            let word = key.map(|key| key as usize).filter(|word| words.is_valid(*word));
            self.levels.push(u32::from(word.is_some()));
            let Some(word) = word else {
                self.nulls += 1;
                continue;
            };
            if known[word] == UNKNOWN {
                known[word] = self.key(words, word)?;
            }
            self.keys.push(known[word]);
        }
        if self.nulls == 0 {
            self.levels.clear();
        }
        Ok(())
    }

    fn key(&mut self, words: &StringArray, word: usize) -> Result<u32> {
        let word = words.value(word);
        if let Some(key) = self.words.get(word) {
            return Ok(*key);
        }
        let key = u32::try_from(self.words.len()).bug("a chunk has too many words")?;
        let length = u32::try_from(word.len()).bug("a word is too long")?;
        self.dictionary.extend_from_slice(&length.to_le_bytes());
        self.dictionary.extend_from_slice(word.as_bytes());
        self.words.insert(word.into(), key);
        Ok(key)
    }

    /// Bytes that it holds in memory, about.
    pub fn memory_bytes(&self) -> usize {
        // A word stands in the dictionary and in the index.
        let words = 2 * self.dictionary.len() + self.words.len() * size_of::<(Box<str>, u32)>();
        self.pages.memory_bytes() + words + (self.levels.len() + self.keys.len()) * size_of::<u32>()
    }

    fn end_page(&mut self) -> Result<()> {
        let of = PageRows { rows: self.rows(), nulls: self.nulls };
        let mut body = Vec::with_capacity(self.keys.len());
        self.pages.levels(&self.levels, of, &mut body)?;
        let width = hybrid::width(self.words.len());
        body.push(width);
        hybrid::encode(&self.keys, width, &mut body);
        self.pages.add(&body, Encoding::RLE_DICTIONARY, of)?;
        self.levels.clear();
        self.keys.clear();
        self.nulls = 0;
        Ok(())
    }

    /// Ends the chunk.
    ///
    /// # Errors
    /// Bug: a page cannot be compressed or written to memory.
    pub fn close(mut self) -> Result<FinishedChunk> {
        if self.rows() > 0 {
            self.end_page()?;
        }
        let statistics = self.statistics();
        let count = u32::try_from(self.words.len()).bug("a chunk has too many words")?;
        self.pages.close(Some(Words { bytes: self.dictionary, count }), Some(statistics))
    }

    fn statistics(&self) -> Statistics {
        let words = || self.words.keys().map(|word| &**word);
        let bounds = words().min().zip(words().max());
        let bounds = bounds.filter(|(min, max)| min.len().max(max.len()) <= BOUND_BYTES_MAX);
        let (min, max) = bounds.unzip();
        let nulls = Some(self.pages.nulls() as u64);
        let value = |word: &str| ByteArray::from(word);
        let statistics = ValueStatistics::new(min.map(value), max.map(value), None, nulls, false);
        Statistics::ByteArray(statistics)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array};
    use arrow::compute::{cast, concat};
    use arrow::datatypes::{DataType, Field};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::ZstdLevel;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::super::testing;
    use super::*;

    /// A file of one column, and what its footer says of the smallest word, the largest, the nulls.
    fn file(
        arrays: &[DictionaryArray<Int32Type>],
        nullable: bool,
        compression: Compression,
    ) -> Result<Bytes> {
        let field = Field::new("word", arrays[0].data_type().clone(), nullable);
        testing::file(field, |descriptor| {
            let mut column = WordColumn::begin(descriptor, compression).expect("we know it");
            arrays.iter().try_for_each(|array| column.push(array))?;
            column.close()
        })
    }

    fn read(file: Bytes) -> ArrayRef {
        let batches = testing::read(file);
        let columns: Vec<_> = batches.iter().map(|batch| batch.column(0).as_ref()).collect();
        cast(&concat(&columns).unwrap(), &DataType::Utf8).unwrap()
    }

    fn dictionary(
        keys: Vec<Option<i32>>,
        words: Vec<Option<String>>,
    ) -> DictionaryArray<Int32Type> {
        DictionaryArray::new(Int32Array::from(keys), Arc::new(StringArray::from(words)))
    }

    /// Rows in runs and alone, of dictionaries that differ and hold words that no row has.
    fn made_up(seed: u64, nullable: bool) -> Vec<DictionaryArray<Int32Type>> {
        let mut random = SmallRng::seed_from_u64(seed);
        let count = 1 << random.random_range(0..12);
        let arrays = (0..3).map(|_| {
            let first = random.random_range(0..100);
            let words = (first..first + count)
                .map(|number| (!nullable || number % 7 > 0).then(|| format!("w{number}")));
            let words = words.collect();
            let mut keys = Vec::new();
            while keys.len() < 90_000 {
                let key =
                    (!nullable || random.random_bool(0.9)).then(|| random.random_range(0..count));
                keys.resize(keys.len() + random.random_range(1..40), key);
            }
            dictionary(keys, words).slice(5, 80_000)
        });
        arrays.collect()
    }

    #[test]
    fn readers_find_what_was_written() {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for (seed, nullable, compression) in [
            (1, true, zstd),
            (2, false, zstd),
            (3, true, Compression::UNCOMPRESSED),
            (4, true, zstd),
            (5, false, zstd),
        ] {
            let arrays = made_up(seed, nullable);
            let found = read(file(&arrays, nullable, compression).unwrap());
            let plain: Vec<_> =
                arrays.iter().map(|array| cast(array, &DataType::Utf8).unwrap()).collect();
            let expected = concat(&plain.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
            assert_eq!(&found, &expected, "seed {seed}");
        }
    }

    #[test]
    fn bounds_are_those_of_the_words_in_rows() {
        let words = ["m", "a", "z"].map(|word| Some(word.to_owned())).to_vec();
        let bytes =
            file(&[dictionary(vec![Some(0), None], words)], true, Compression::UNCOMPRESSED);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.unwrap()).unwrap();
        let statistics = reader.metadata().row_group(0).column(0).statistics().unwrap().clone();
        assert_eq!(statistics.min_bytes_opt(), Some(b"m".as_slice()));
        assert_eq!(statistics.max_bytes_opt(), Some(b"m".as_slice()));
        assert_eq!(statistics.null_count_opt(), Some(1));
    }

    #[test]
    fn a_column_of_nulls_alone_is_read_as_such() {
        let array = dictionary(vec![None; 20], Vec::new());
        let found = read(file(&[array], true, Compression::ZSTD(ZstdLevel::default())).unwrap());
        assert_eq!((found.len(), found.null_count()), (20, 20));
    }

    #[test]
    fn a_null_in_a_column_that_has_none_is_a_bug() {
        let array = dictionary(vec![None], Vec::new());
        assert!(file(&[array], false, Compression::UNCOMPRESSED).is_err());
    }
}
