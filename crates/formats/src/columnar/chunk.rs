//! The pages of a column chunk in the making, compressed, and what the footer says about them.
//!
//! What a page holds is the business of [`super::words`] and [`super::text`].

use std::cell::RefCell;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
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
    /// The page before, whose memory is used again once nobody else has it.
    compressed: Bytes,
}

/// The pages of a chunk.
pub struct Pages {
    descriptor: ColumnDescPtr,
    compression: Compression,
    pages: Vec<Bytes>,
    encodings: Vec<Encoding>,
    bytes: usize,
    uncompressed_bytes: usize,
    rows: usize,
    nulls: usize,
}

/// A finished column chunk.
pub struct FinishedChunk {
    /// Its pages with their headers, in the order of the file.
    pub pages: Vec<Bytes>,
    /// What the footer says about it; its places count from the chunk's beginning.
    pub metadata: ColumnChunkMetaData,
    /// Whether its dictionary was built for nothing.
    pub hardly_repeats: bool,
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
        known.then(|| Self {
            descriptor,
            compression,
            pages: Vec::new(),
            encodings: vec![Encoding::RLE],
            bytes: 0,
            uncompressed_bytes: 0,
            rows: 0,
            nulls: 0,
        })
    }

    /// The nulls of all pages so far.
    pub fn nulls(&self) -> usize {
        self.nulls
    }

    /// Bytes that it holds in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
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
        let page = self.page(page, body.len())?;
        self.pages.push(page);
        self.rows += of.rows;
        self.nulls += of.nulls;
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        Ok(())
    }

    /// A page as it stands in the file.
    fn page(&mut self, page: Page, uncompressed_bytes: usize) -> Result<Bytes> {
        const FAILED: &str = "could not write a page to memory";
        let page = CompressedPage::new(page, uncompressed_bytes);
        let room = page.compressed_size() + HEADER_BYTES;
        let mut sink = TrackedWrite::new(Vec::with_capacity(room));
        let written = SerializedPageWriter::new(&mut sink).write_page(page).bug(FAILED)?;
        self.uncompressed_bytes += written.uncompressed_size;
        let page = Bytes::from(sink.into_inner().bug(FAILED)?);
        self.bytes += page.len();
        Ok(page)
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
        self.encodings.extend(words.is_some().then_some(Encoding::PLAIN));
        let mut metadata = ColumnChunkMetaData::builder(self.descriptor)
            .set_compression(self.compression)
            .set_encodings(self.encodings)
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(self.bytes as i64)
            .set_total_uncompressed_size(self.uncompressed_bytes as i64)
            .set_dictionary_page_offset(words.is_some().then_some(0))
            .set_data_page_offset(words.as_ref().map_or(0, Bytes::len) as i64);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        Ok(FinishedChunk {
            pages: words.into_iter().chain(self.pages).collect(),
            metadata: metadata.build().bug("could not describe a column")?,
            hardly_repeats: false,
        })
    }

    fn dictionary_page(&mut self, words: &Words) -> Result<Bytes> {
        let page = Page::DictionaryPage {
            buf: self.compress(&words.bytes)?,
            num_values: words.count,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.page(page, words.bytes.len())
    }
}

impl PageCompressor {
    fn new(level: i32) -> Result<Self> {
        let zstd = Compressor::new(level).bug("could not make a compressor")?;
        Ok(Self { level, zstd, compressed: Bytes::new() })
    }

    fn compress(&mut self, body: &[u8]) -> Result<Bytes> {
        let mut compressed = Vec::from(std::mem::take(&mut self.compressed));
        compressed.clear();
        compressed.reserve(compress_bound(body.len()));
        self.zstd.compress_to_buffer(body, &mut compressed).bug("could not compress a page")?;
        self.compressed = compressed.into();
        Ok(self.compressed.clone())
    }
}

/// The words of a dictionary as they are stored: each after its length.
pub struct Words {
    /// All of them.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub count: u32,
}
