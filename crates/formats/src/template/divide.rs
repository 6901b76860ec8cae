//! Divides the rows of a batch by what a template makes of them.
//!
//! Texts are made once for each distinct value of a batch, not for each row.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use contract::error::Context;
use contract::{Error, Result};

use super::{Piece, Template, TimeFormat, Values};

/// The rows of a batch in groups of equal values.
#[derive(Debug)]
pub struct Groups {
    /// The group of each row.
    pub of_row: Vec<u32>,
    /// The values of each group; groups are numbered as they come.
    pub values: Vec<Values>,
}

impl Template {
    /// Divides the rows of a batch that has the columns of [`Template::check`].
    ///
    /// # Errors
    /// Bug: it has not.
    pub fn divide(&self, batch: &RecordBatch) -> Result<Groups> {
        let mut groups = Groups { of_row: vec![0; batch.num_rows()], values: vec![Vec::new()] };
        for piece in &self.pieces {
            match piece {
                Piece::Text(_) | Piece::Word(_) => {}
                Piece::Column(column) => groups.refine(&of_column(find(batch, column)?)?),
                Piece::Time(column, format) => {
                    groups.refine(&of_time(find(batch, column)?, format)?);
                }
            }
        }
        Ok(groups)
    }
}

impl Groups {
    /// Divides each group further by the values of one more column.
    fn refine(&mut self, column: &Distinct) {
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        let mut values = Vec::new();
        for (group, value) in self.of_row.iter_mut().zip(&column.of_row) {
            *group = *known.entry((*group, *value)).or_insert_with(|| {
                let mut refined = self.values[*group as usize].clone();
                refined.push(column.texts[*value as usize].clone());
                values.push(refined);
                values.len() as u32 - 1
            });
        }
        self.values = values;
    }
}

/// The distinct texts of a column.
struct Distinct {
    of_row: Vec<u32>,
    texts: Values,
}

impl Distinct {
    fn new<K: Eq + Hash + Copy>(
        keys: impl Iterator<Item = Option<K>>,
        text: impl Fn(K) -> Option<Arc<str>>,
    ) -> Self {
        let mut known: HashMap<Option<K>, u32> = HashMap::new();
        let mut of_text: HashMap<Option<Arc<str>>, u32> = HashMap::new();
        let mut texts: Values = Vec::new();
        let mut last = None;
        let of_row = keys.map(|key| {
            if let Some((same, number)) = last
                && same == key
            {
                return number;
            }
            let number = *known.entry(key).or_insert_with(|| {
                // Two days of one year have one text.
                *of_text.entry(key.and_then(&text)).or_insert_with_key(|text| {
                    texts.push(text.clone());
                    texts.len() as u32 - 1
                })
            });
            last = Some((key, number));
            number
        });
        let of_row = of_row.collect();
        Self { of_row, texts }
    }
}

fn of_column(column: &ArrayRef) -> Result<Distinct> {
    let texts = cast(column, &DataType::Utf8).bug("could not write a column as text")?;
    Ok(Distinct::new(texts.as_string::<i32>().iter(), |text| Some(Arc::from(text))))
}

impl TimeFormat {
    /// The text of each time of a column; null where it is null or no date.
    ///
    /// # Errors
    /// Bug: it has no times.
    pub fn texts(&self, column: &ArrayRef) -> Result<StringViewArray> {
        let Distinct { of_row, texts } = of_time(column, self)?;
        Ok(of_row.iter().map(|text| texts[*text as usize].as_deref()).collect())
    }
}

fn of_time(column: &ArrayRef, format: &TimeFormat) -> Result<Distinct> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let times = cast(column, &micros).bug("could not read a column as a time")?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let stretches = times.iter().map(|time| time.map(|time| format.stretch(time)));
    Ok(Distinct::new(stretches, |stretch| format.write(stretch).map(Arc::from)))
}

fn find<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(column)
        .ok_or_else(|| Error::bug(format!("a batch lost its column {column:?}")))
}
