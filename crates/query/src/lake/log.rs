//! What a table's log says of its current files: their sizes, bounds and partition values, as
//! columns with a row for each file.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, is_null, nullif};
use arrow::datatypes::DataType;
use contract::Result;
use contract::error::Context;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use deltalake::table::state::DeltaTableState;

/// The current files of a table, in the order in which the log's own iterator names them.
pub struct LogFiles(RecordBatch);

impl LogFiles {
    /// Reads what the log says.
    ///
    /// # Errors
    /// External: it holds statistics of another form.
    pub fn read(snapshot: &DeltaTableState) -> Result<Self> {
        let files = snapshot.add_actions_table(false);
        Ok(Self(files.external(|| "could not read the log of a lake table".to_owned())?))
    }

    /// The values of a column that stands in the names of folders; none if it does not.
    pub fn partition_values(&self, column: &str) -> Option<ArrayRef> {
        self.of("partition", column)
    }

    /// How many nulls a column has in each file, where the log knows.
    pub fn nulls(&self, column: &str) -> Option<UInt64Array> {
        let counts = cast(&self.of("null_count", column)?, &DataType::UInt64).ok()?;
        Some(counts.as_primitive().clone())
    }

    fn rows(&self) -> Option<UInt64Array> {
        let counts = cast(self.0.column_by_name("num_records")?, &DataType::UInt64).ok()?;
        Some(counts.as_primitive().clone())
    }

    fn of(&self, what: &str, column: &str) -> Option<ArrayRef> {
        let all = self.0.column_by_name(what)?.as_struct_opt()?;
        let values = all.column_by_name(column)?;
        match all.null_count() {
            0 => Some(values.clone()),
            _ => nullif(values, &is_null(all).ok()?).ok(),
        }
    }

    /// A bound of a column in each file: of a partition's files both are its value.
    fn bound(&self, what: &str, column: &Column) -> Option<ArrayRef> {
        let values = self.partition_values(&column.name).or_else(|| self.of(what, &column.name))?;
        // Bytes are not ordered as other engines order them.
        (!values.data_type().is_binary()).then_some(values)
    }
}

impl PruningStatistics for LogFiles {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound("min", column)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound("max", column)
    }

    fn num_containers(&self) -> usize {
        self.0.num_rows()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let Some(values) = self.partition_values(&column.name) else {
            return Some(Arc::new(self.nulls(&column.name)?));
        };
        let rows = self.rows()?;
        let counts = (0..values.len()).map(|file| {
            if values.is_null(file) {
                rows.is_valid(file).then(|| rows.value(file))
            } else {
                Some(0)
            }
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.rows()?))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
