//! The rows that a sink is given in its proof.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use contract::record::{ORDINAL, POSITION, position_field};

/// What rows are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Likeness {
    /// The number that all of them have, where they come by one of several ways.
    pub ordinal: Option<i64>,
    /// One row in five holds what few destinations take: a letter that is none, a word that names
    /// nothing, and a moment behind the calendar.
    pub hostile: bool,
}

impl Likeness {
    /// Whether the row at a position is the one in five.
    pub fn is_hostile(self, position: i64) -> bool {
        self.hostile && position % 5 == 2
    }

    /// The columns.
    pub fn schema(self) -> SchemaRef {
        let mut fields = vec![
            Field::new("number", DataType::Int64, true),
            Field::new("text", DataType::Utf8View, true),
            Field::new("plain", DataType::Utf8, true),
        ];
        if self.hostile {
            let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            fields.push(Field::new("moment", moment, true));
        }
        fields.push(position_field());
        if self.ordinal.is_some() {
            fields.push(Field::new(ORDINAL, DataType::Int64, false));
        }
        Arc::new(Schema::new(fields))
    }

    /// The rows at these positions.
    pub fn batch(self, rows: &[i64]) -> RecordBatch {
        let all = || rows.iter().copied();
        let numbers: Int64Array = all().map(|row| (row % 7 != 0).then_some(row)).collect();
        let texts = all().map(|row| match self.is_hostile(row) {
            true => format!("row {row}, with a letter \0 that is none"),
            false => format!("row {row}, with \"quotes\" and a longer text"),
        });
        let plain = all().map(|row| match self.is_hostile(row) {
            true => Some("no name!"),
            false => (self.hostile || row % 3 != 0).then_some("x"),
        });
        let plain: StringArray = plain.collect();
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("number", Arc::new(numbers)),
            ("text", Arc::new(StringViewArray::from_iter_values(texts))),
            ("plain", Arc::new(plain)),
        ];
        if self.hostile {
            let moments = all().map(|row| if self.is_hostile(row) { i64::MAX } else { row });
            let moments = TimestampMicrosecondArray::from_iter_values(moments);
            columns.push(("moment", Arc::new(moments.with_timezone("UTC"))));
        }
        columns.push((POSITION, Arc::new(all().collect::<Int64Array>())));
        if let Some(ordinal) = self.ordinal {
            columns.push((ORDINAL, Arc::new(Int64Array::from(vec![ordinal; rows.len()]))));
        }
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        RecordBatch::try_new(self.schema(), columns).expect("columns fit their schema")
    }
}

/// Positions in order, so many at once.
pub fn steps(rows: Range<i64>, step: usize) -> Vec<Vec<i64>> {
    let rows: Vec<i64> = rows.collect();
    rows.chunks(step).map(<[i64]>::to_vec).collect()
}
