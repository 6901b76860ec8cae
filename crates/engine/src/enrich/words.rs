//! Dictionary columns of words that a worker meets again and again.
//!
//! A word is hashed once in a worker's life. A row costs a look at its number: whether the batch
//! has the word already, and where in the batch's dictionary it stands.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, NullBufferBuilder, StringBuilder};
use arrow::datatypes::Int32Type;
use contract::{Error, Result};
use datafusion::common::HashMap;

/// The number of a word, or of none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(u32);

impl Word {
    /// No word: a row has a null there.
    pub const NONE: Self = Self(u32::MAX);
}

/// The words of one column, each once.
#[derive(Default)]
pub struct Words {
    numbers: HashMap<Arc<str>, Word>,
    texts: Vec<Arc<str>>,
    /// For each word, its key in the batch that had it last.
    seen: Vec<Seen>,
    batch: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    batch: u64,
    key: i32,
}

impl Words {
    /// The number of a text.
    ///
    /// # Errors
    /// Bug: there are more words than numbers.
    pub fn number(&mut self, text: Option<&str>) -> Result<Word> {
        let Some(text) = text else { return Ok(Word::NONE) };
        if let Some(word) = self.numbers.get(text) {
            return Ok(*word);
        }
        let number = u32::try_from(self.texts.len()).ok().filter(|it| *it != Word::NONE.0);
        let word = Word(number.ok_or_else(|| Error::bug("a column has too many words"))?);
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, word);
        self.seen.push(Seen { batch: 0, key: 0 });
        Ok(word)
    }

    /// A column with these words, one for each row.
    ///
    /// # Errors
    /// Bug: a key has no word.
    pub fn column(&mut self, rows: impl ExactSizeIterator<Item = Word>) -> Result<ArrayRef> {
        self.batch += 1;
        let mut keys = Vec::with_capacity(rows.len());
        let mut nulls = NullBufferBuilder::new(rows.len());
        let (mut words, mut count) = (StringBuilder::new(), 0);
        for word in rows {
            if word == Word::NONE {
                nulls.append_null();
                keys.push(0);
                continue;
            }
            nulls.append_non_null();
            let number = word.0 as usize;
            let seen = &mut self.seen[number];
            if seen.batch != self.batch {
                *seen = Seen { batch: self.batch, key: count };
                words.append_value(&self.texts[number]);
                count += 1;
            }
            keys.push(seen.key);
        }
        let keys = Int32Array::new(keys.into(), nulls.finish());
        let column = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words.finish()))
            .map_err(|error| Error::bug("a dictionary lost a word").because(error))?;
        Ok(Arc::new(column))
    }
}
