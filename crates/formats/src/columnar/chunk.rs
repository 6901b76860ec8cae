//! The pages of a column chunk in the making, compressed, and what the footer says about them.
//!
//! What a page holds is the business of [`super::words`] and [`super::text`].

use std::cell::RefCell;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::hybrid;

/// Bytes of a page's header, and some more.
const HEADER_BYTES: usize = 64;

thread_local! {
    /// A compressor takes a megabyte and some time to make: columns share that of their thread.
    static COMPRESSOR: RefCell<Option<PageCompressor>> = const { RefCell::new(None) };
}

/// Compresses pages.
struct PageCompressor {
    level: i32,
    zstd: Compressor<'static>,
    /// Where pages are compressed; what is kept is copied from here.
    compressed: Vec<u8>,
}

/// The pages of a chunk.
pub struct Pages {
    descriptor: ColumnDescPtr,
    compression: Compression,
    pages: Vec<CompressedPage>,
    pages_bytes: usize,
    rows: usize,
    nulls: usize,
}

/// A finished column chunk.
pub struct FinishedChunk {
    /// Its pages.
    pub bytes: Bytes,
    /// What the footer says about it.
    pub close: ColumnCloseResult,
}

/// The rows of a page.
#[derive(Clone, Copy)]
pub struct PageRows {
    /// All of them.
    pub rows: usize,
    /// Those that are null.
    pub nulls: usize,
}

impl Pages {
    /// Begins a chunk; none if pages cannot be compressed so here.
    pub fn begin(descriptor: ColumnDescPtr, compression: Compression) -> Option<Self> {
        let known = matches!(compression, Compression::UNCOMPRESSED | Compression::ZSTD(_));
        let (pages, pages_bytes, rows, nulls) = Default::default();
        known.then_some(Self { descriptor, compression, pages, pages_bytes, rows, nulls })
    }

    /// The nulls of all pages so far.
    pub fn nulls(&self) -> usize {
        self.nulls
    }

    /// Bytes that it holds in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.pages_bytes
    }

    /// Appends what a page begins with: which of its rows are null. `levels` has a 1, or a 0 for a
    /// null, for each row; nobody looks at it where none is.
    ///
    /// # Errors
    /// Bug: a null where none may be.
    pub fn levels(&self, levels: &[u32], of: PageRows, to: &mut Vec<u8>) -> Result<()> {
        if self.descriptor.max_def_level() == 0 {
            return match of.nulls {
                0 => Ok(()),
                _ => Err(Error::bug("a column that is never null has a null")),
            };
        }
        let begin = to.len() + size_of::<u32>();
        to.resize(begin, 0);
        match of.nulls {
            0 => hybrid::encode_run(1, of.rows, 1, to),
            _ => hybrid::encode(levels, 1, to),
        }
        let length = (to.len() - begin) as u32;
        to[begin - size_of::<u32>()..begin].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// Adds a page: what [`Pages::levels`] appended, then its values.
    ///
    /// # Errors
    /// Bug: the page cannot be compressed.
    pub fn add(&mut self, body: &[u8], encoding: Encoding, of: PageRows) -> Result<()> {
        let page = Page::DataPage {
            buf: self.compress(body)?,
            num_values: u32::try_from(of.rows).bug("a page has too many rows")?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page = CompressedPage::new(page, body.len());
        self.pages_bytes += page.compressed_size();
        self.pages.push(page);
        self.rows += of.rows;
        self.nulls += of.nulls;
        Ok(())
    }

    fn compress(&self, body: &[u8]) -> Result<Bytes> {
        let Compression::ZSTD(level) = self.compression else {
            return Ok(Bytes::copy_from_slice(body));
        };
        COMPRESSOR.with_borrow_mut(|own| {
            let level = level.compression_level();
            match own {
                Some(own) if own.level == level => own.compress(body),
                _ => own.insert(PageCompressor::new(level)?).compress(body),
            }
        })
    }

    /// Ends the chunk; `words` is the dictionary that its pages refer to.
    ///
    /// # Errors
    /// Bug: a page cannot be compressed or written to memory.
    pub fn close(
        mut self,
        words: Option<Words>,
        statistics: Option<Statistics>,
    ) -> Result<FinishedChunk> {
        let words = words.map(|words| self.dictionary_page(&words)).transpose()?;
        let pages = words.iter().chain(&self.pages);
        let room = pages.map(|page| page.compressed_size() + HEADER_BYTES).sum();
        let mut sink = TrackedWrite::new(Vec::with_capacity(room));
        let mut writer = SerializedPageWriter::new(&mut sink);
        let (mut uncompressed, mut data_at) = (0, 0);
        let has_words = words.is_some();
        if let Some(words) = words {
            let written = writer.write_page(words).bug("could not write a page of words")?;
            uncompressed += written.uncompressed_size;
            data_at = written.bytes_written;
        }
        let mut encodings = vec![Encoding::RLE];
        encodings.extend(has_words.then_some(Encoding::PLAIN));
        for page in std::mem::take(&mut self.pages) {
            if !encodings.contains(&page.encoding()) {
                encodings.push(page.encoding());
            }
            uncompressed +=
                writer.write_page(page).bug("could not write a page")?.uncompressed_size;
        }
        let bytes = sink.into_inner().bug("could not write to memory")?;
        let mut metadata = ColumnChunkMetaData::builder(self.descriptor)
            .set_compression(self.compression)
            .set_encodings(encodings)
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_dictionary_page_offset(has_words.then_some(0))
            .set_data_page_offset(data_at as i64);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build().bug("could not describe a column")?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(FinishedChunk { bytes: bytes.into(), close })
    }

    fn dictionary_page(&self, words: &Words) -> Result<CompressedPage> {
        let page = Page::DictionaryPage {
            buf: self.compress(&words.bytes)?,
            num_values: words.count,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        Ok(CompressedPage::new(page, words.bytes.len()))
    }
}

impl PageCompressor {
    fn new(level: i32) -> Result<Self> {
        let zstd = Compressor::new(level).bug("could not make a compressor")?;
        Ok(Self { level, zstd, compressed: Vec::new() })
    }

    fn compress(&mut self, body: &[u8]) -> Result<Bytes> {
        self.compressed.clear();
        self.compressed.reserve(compress_bound(body.len()));
        self.zstd
            .compress_to_buffer(body, &mut self.compressed)
            .bug("could not compress a page")?;
        Ok(Bytes::copy_from_slice(&self.compressed))
    }
}

/// The words of a dictionary as they are stored: each after its length.
pub struct Words {
    /// All of them.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub count: u32,
}
