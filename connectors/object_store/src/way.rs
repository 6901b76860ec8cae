//! The ways by which rows come to an object sink.
//!
//! Where several ways lead from one split to the sink, each has a number of its own, which its rows
//! carry (`_ordinal`). In what order rows of different ways come depends on batches; within one way
//! positions only rise. So rows of different ways never stand in one object.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use contract::error::Context;
use contract::record::Numbers;
use contract::{Lineage, Result};

/// Rows that come in the order of their positions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// Whose rows they are.
    pub lineage: Lineage,
    /// The split that they were read from.
    pub split: String,
    /// The number that each of them has; 0 where there is one way only.
    pub ordinal: i64,
}

/// Divides rows of one split by their numbers, each part in the order of the rows.
///
/// # Errors
/// Bug: the batch is not as it entered the sink.
pub fn by_number(records: RecordBatch) -> Result<Vec<(i64, RecordBatch)>> {
    if records.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let numbers = Numbers::of(&records)?;
    let first = numbers.ordinal(0);
    if (1..records.num_rows()).all(|row| numbers.ordinal(row) == first) {
        return Ok(vec![(first, records)]);
    }
    let mut rows: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for row in 0..records.num_rows() {
        rows.entry(numbers.ordinal(row)).or_default().push(row as u64);
    }
    let parts = rows.into_iter().map(|(number, rows)| {
        let part = take_record_batch(&records, &UInt64Array::from(rows));
        Ok((number, part.bug("could not pick rows")?))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use contract::record::{ORDINAL, POSITION, positions};

    use super::*;

    fn parts(ordinals: &[i64]) -> Vec<(i64, Vec<i64>)> {
        let columns: [(_, ArrayRef); 2] = [
            (POSITION, Arc::new((0..ordinals.len() as i64).collect::<Int64Array>())),
            (ORDINAL, Arc::new(Int64Array::from(ordinals.to_vec()))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let parts = by_number(batch).expect("parts").into_iter();
        parts.map(|(way, part)| (way, positions(&part).expect("there").values().to_vec())).collect()
    }

    #[test]
    fn each_way_keeps_the_order_of_its_rows() {
        assert_eq!(parts(&[2, 1, 2, 1, 1]), [(1, vec![1, 3, 4]), (2, vec![0, 2])]);
        assert_eq!(parts(&[4, 4]), [(4, vec![0, 1])]);
    }
}
