//! A column of text that comes as views, encoded as it stands.
//!
//! For text that hardly repeats. Parquet's own writer copies every page three times, each time
//! into fresh memory; here a value is copied once, into a page that is used again. Lengths stand
//! apart from the text (`DELTA_LENGTH_BYTE_ARRAY`): between the values they would cost zstd 15 %
//! more time, and the file 7 % more room.

use arrow::array::{Array, StringViewArray};
use arrow::buffer::Buffer;
use contract::Result;
use parquet::basic::{Compression, Encoding};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{FinishedChunk, PageRows, Pages};
use super::lengths;

/// Bytes of a data page before compression.
const PAGE_BYTES: usize = 512 << 10;
/// Room that a page begins with: many files may be open that have few rows each.
const PAGE_BYTES_MIN: usize = 8 << 10;
/// Rows of a data page, however short they are.
const PAGE_ROWS_MAX: usize = 1 << 17;
/// Text of up to this many bytes stands in the view itself.
const INLINE_BYTES_MAX: usize = 12;
/// Text of up to this many bytes is copied with what follows it: so many bytes at once cost less
/// than a call for just the right number.
const SHORT_BYTES_MAX: usize = 64;

/// A column chunk in the making.
pub struct TextColumn {
    pages: Pages,
    /// The text of the page in the making, up to `end`. The rest means nothing.
    text: Vec<u8>,
    end: usize,
    lengths: Vec<u32>,
    nulls: usize,
    /// The page as it is compressed.
    body: Vec<u8>,
    /// For each row of the page 1, or 0 where it is null; empty while none is.
    levels: Vec<u32>,
}

impl TextColumn {
    /// Begins a chunk; none if pages cannot be compressed so here.
    pub fn begin(descriptor: ColumnDescPtr, compression: Compression) -> Option<Self> {
        let pages = Pages::begin(descriptor, compression)?;
        let (text, body, lengths, levels) = Default::default();
        Some(Self { pages, text, end: 0, lengths, nulls: 0, body, levels })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Bug: a null where none may be.
    pub fn push(&mut self, array: &StringViewArray) -> Result<()> {
        let (views, buffers) = (array.views(), array.data_buffers());
        for (row, view) in views.iter().enumerate() {
            match array.is_null(row) {
                true => self.push_null(),
                false => self.push_value(*view, buffers),
            }
            if self.end >= PAGE_BYTES || self.rows() >= PAGE_ROWS_MAX {
                self.end_page()?;
            }
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.lengths.len() + self.nulls
    }

    fn push_null(&mut self) {
        if self.nulls == 0 {
            self.levels.resize(self.lengths.len(), 1);
        }
        self.levels.push(0);
        self.nulls += 1;
    }

    #[inline]
    fn push_value(&mut self, view: u128, buffers: &[Buffer]) {
        if self.nulls > 0 {
            self.levels.push(1);
        }
        let length = view as u32;
        self.lengths.push(length);
        let (begin, length) = (self.end, length as usize);
        self.end += length;
        if self.text.len() < self.end + SHORT_BYTES_MAX {
            let doubled = (2 * self.text.len()).clamp(PAGE_BYTES_MIN, PAGE_BYTES + PAGE_BYTES / 8);
            self.text.resize((self.end + SHORT_BYTES_MAX).max(doubled), 0);
        }
        if length <= INLINE_BYTES_MAX {
            let [_, _, _, _, text @ ..] = view.to_le_bytes();
            self.text[begin..begin + INLINE_BYTES_MAX].copy_from_slice(&text);
            return;
        }
        let (buffer, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
        let text = &buffers[buffer].as_slice()[offset..];
        match text.first_chunk::<SHORT_BYTES_MAX>() {
            Some(text) if length <= SHORT_BYTES_MAX => {
                self.text[begin..begin + SHORT_BYTES_MAX].copy_from_slice(text);
            }
            _ => self.text[begin..self.end].copy_from_slice(&text[..length]),
        }
    }

    /// Bytes that it holds in memory, about.
    pub fn memory_bytes(&self) -> usize {
        let numbers = (self.levels.capacity() + self.lengths.capacity()) * size_of::<u32>();
        self.pages.memory_bytes() + self.text.capacity() + self.body.capacity() + numbers
    }

    fn end_page(&mut self) -> Result<()> {
        let of = PageRows { rows: self.rows(), nulls: self.nulls };
        self.body.clear();
        self.pages.levels(&self.levels, of, &mut self.body)?;
        lengths::encode(&self.lengths, &mut self.body);
        self.body.extend_from_slice(&self.text[..self.end]);
        self.pages.add(&self.body, Encoding::DELTA_LENGTH_BYTE_ARRAY, of)?;
        self.lengths.clear();
        self.levels.clear();
        (self.end, self.nulls) = (0, 0);
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
        self.pages.close(None, None)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field};
    use parquet::basic::ZstdLevel;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::super::testing;
    use super::*;

    fn read_back(
        arrays: &[StringViewArray],
        nullable: bool,
        compression: Compression,
    ) -> Result<Vec<Option<String>>> {
        let field = Field::new("text", DataType::Utf8View, nullable);
        let file = testing::file(field, |descriptor| {
            let mut column = TextColumn::begin(descriptor, compression).expect("we know it");
            arrays.iter().try_for_each(|array| column.push(array))?;
            column.close()
        })?;
        let batches = testing::read(file);
        let columns = batches.iter().map(|batch| batch.column(0).as_string::<i32>());
        Ok(columns.flat_map(|texts| texts.iter().map(|text| text.map(str::to_owned))).collect())
    }

    fn check(arrays: &[StringViewArray], nullable: bool, compression: Compression) {
        let expected: Vec<_> =
            arrays.iter().flatten().map(|text| text.map(str::to_owned)).collect();
        assert!(read_back(arrays, nullable, compression).unwrap() == expected);
    }

    /// Text of every length around those that are copied otherwise, some of it at a buffer's end.
    fn made_up(seed: u64, null_share: f64, rows: usize) -> StringViewArray {
        let mut random = SmallRng::seed_from_u64(seed);
        let texts = (0..rows).map(|_| {
            let length = match random.random_range(0..100) {
                0 => random.random_range(0..3000),
                _ => random.random_range(0..70),
            };
            let letter = char::from(random.random_range(b'a'..=b'z'));
            (!random.random_bool(null_share)).then(|| letter.to_string().repeat(length))
        });
        texts.collect()
    }

    #[test]
    fn readers_find_what_was_written() {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for (seed, null_share, compression) in
            [(1, 0.0, zstd), (2, 0.5, zstd), (3, 0.999, zstd), (4, 0.2, Compression::UNCOMPRESSED)]
        {
            let arrays = [
                made_up(seed, null_share, 30_000),
                made_up(seed + 9, 0.0, 20_000).slice(77, 15_000),
                made_up(seed + 99, null_share, 3),
            ];
            check(&arrays, true, compression);
        }
        check(&[made_up(5, 0.0, 40_000)], false, zstd);
    }

    #[test]
    fn pages_end_where_nothing_but_rows_is_in_them() {
        let rows = PAGE_ROWS_MAX + 7;
        let zstd = Compression::ZSTD(ZstdLevel::default());
        check(&[StringViewArray::from(vec![""; rows])], true, zstd);
        check(&[StringViewArray::new_null(rows), made_up(1, 0.5, 9)], true, zstd);
        check(&[StringViewArray::new_null(0)], true, zstd);
    }

    #[test]
    fn a_null_in_a_column_that_has_none_is_a_bug() {
        let array = StringViewArray::new_null(1);
        assert!(read_back(&[array], false, Compression::UNCOMPRESSED).is_err());
    }
}
