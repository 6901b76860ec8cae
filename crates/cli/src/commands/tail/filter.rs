//! Which records are shown: those for which a condition in SQL is true, as in a step `sql`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::Utc;
use contract::section::{Entry, Value};
use contract::transform::{EpochStart, Means, Output, Step, Transform};
use contract::{Place, Result, Section};
use tracing::warn;

/// What a condition calls the records.
const RECORDS: &str = "records";

/// A condition; everything passes where there is none.
pub struct Filter {
    step: Option<Arc<dyn Step>>,
}

/// A filter at work on one split.
pub struct Sieve {
    transform: Option<Box<dyn Transform>>,
}

impl Filter {
    /// The filter of a condition over records with these columns.
    ///
    /// # Errors
    /// Config: the condition is wrong.
    pub fn new(condition: Option<&str>, columns: &SchemaRef) -> Result<Self> {
        let Some(condition) = condition else { return Ok(Self { step: None }) };
        let query = format!("SELECT * FROM {RECORDS} WHERE ({condition})");
        let place = Place::default();
        let value = Section::new(place.clone(), Value::Text(query.into()));
        let query = Entry { key: "query".into(), place: place.clone(), value };
        let section = Section::new(place, Value::Map(vec![query]));
        let inputs = [(RECORDS.to_owned(), columns.clone())];
        let step = engine::step("sql", "where", &section, &inputs);
        let step = step.map_err(|error| error.context("the condition of `--where` is wrong"))?;
        Ok(Self { step: Some(step) })
    }

    /// A sieve for one split.
    ///
    /// # Errors
    /// Config: a constant part of the condition cannot be computed.
    pub fn sieve(&self) -> Result<Sieve> {
        let mut transform =
            self.step.as_ref().map(|step| step.build(Means::default())).transpose()?;
        if let Some(transform) = &mut transform {
            let now_us = Utc::now().timestamp_micros();
            transform.start_epoch(EpochStart { epoch: 1, now_us })?;
        }
        Ok(Sieve { transform })
    }
}

impl Sieve {
    /// The records that pass.
    ///
    /// # Errors
    /// Bug: the condition does not fit the columns that it was made for.
    pub fn pass(&mut self, records: RecordBatch) -> Result<Vec<RecordBatch>> {
        let Some(transform) = &mut self.transform else { return Ok(vec![records]) };
        let mut out = Output::default();
        transform.apply(&records, &mut out)?;
        if let Some(first) = out.rejects.first() {
            let (rows, reason) = (out.rejects.len(), &first.reason);
            warn!(rows, reason, "records on which the condition fails are not shown");
        }
        Ok(out.batches.into_iter().map(|(_, batch)| batch).collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use contract::record::{LOSSY, MESSAGE, POSITION};

    use super::*;

    fn batch() -> RecordBatch {
        let fields = vec![
            Field::new(MESSAGE, DataType::Utf8View, true),
            Field::new(POSITION, DataType::Int64, false),
            Field::new(LOSSY, DataType::Boolean, false),
        ];
        let message = StringViewArray::from_iter([Some("12"), Some("none"), None, Some("2")]);
        RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            vec![
                Arc::new(message),
                Arc::new(Int64Array::from_iter_values(0..4)),
                Arc::new(arrow::array::BooleanArray::from(vec![false; 4])),
            ],
        )
        .expect("a batch")
    }

    fn passed(condition: Option<&str>) -> usize {
        let batch = batch();
        let filter = Filter::new(condition, &batch.schema()).expect("a condition");
        let passed = filter.sieve().expect("a sieve").pass(batch).expect("passed");
        passed.iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn records_pass_for_which_the_condition_is_true() {
        assert_eq!(passed(None), 4);
        assert_eq!(passed(Some("message = '12' OR message LIKE 'n%'")), 2);
        assert_eq!(passed(Some("message IS NULL")), 1);
        assert_eq!(passed(Some("CAST(message AS BIGINT) > 1")), 2, "one cannot be computed");
        for wrong in ["no_column = 1", "message", "1 = 1) ORDER BY (message"] {
            let error = Filter::new(Some(wrong), &batch().schema()).err().expect(wrong);
            assert!(error.chain().starts_with("the condition of `--where` is wrong"), "{error}");
        }
    }
}
