//! Steps for the proofs: a stateless filter, a stateful one that passes each row of a split once,
//! however often it comes, a fork, one whose rows depend on their order, and one that makes records
//! of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use bytes::Bytes;
use contract::transform::{Means, Output, Port, Step, Transform};
use contract::{Result, Section};

pub fn make(
    kind: &str,
    _name: &str,
    _section: &Section,
    inputs: &[(String, SchemaRef)],
) -> Result<Arc<dyn Step>> {
    let schema = &inputs[0].1;
    if kind == "sums" {
        let ports = vec![Port { name: "".into(), schema: sums::schema() }];
        return Ok(Arc::new(TestStep { ports, kind: Kind::Sums }));
    }
    let port = |name: &&str| Port { name: (*name).into(), schema: schema.clone() };
    let (kind, names): (_, &[&str]) = match kind {
        "first_seen" => (Kind::FirstSeen, &[""]),
        "first_of_ten" => (Kind::FirstOfTen, &[""]),
        "parted" => (Kind::Parted, &["nines", "others"]),
        _ => (Kind::WithoutNines, &[""]),
    };
    Ok(Arc::new(TestStep { ports: names.iter().map(port).collect(), kind }))
}

#[derive(PartialEq)]
enum Kind {
    FirstSeen,
    FirstOfTen,
    Parted,
    Sums,
    WithoutNines,
}

struct TestStep {
    ports: Vec<Port>,
    kind: Kind,
}

impl Step for TestStep {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn stateful(&self) -> bool {
        matches!(self.kind, Kind::FirstSeen | Kind::FirstOfTen | Kind::Sums)
    }

    fn makes_records(&self) -> bool {
        self.kind == Kind::Sums
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        Ok(match self.kind {
            Kind::FirstSeen => Box::new(FirstSeen::default()),
            Kind::FirstOfTen => Box::new(FirstOfTen::default()),
            Kind::Parted => Box::new(Parted),
            Kind::Sums => Box::new(sums::Sums::default()),
            Kind::WithoutNines => Box::new(WithoutNines),
        })
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// What happens when the next batch comes by: another owner, for instance.
static MEANWHILE: Mutex<Option<Hook>> = Mutex::new(None);

pub fn meanwhile(hook: impl FnOnce() + Send + 'static) {
    *MEANWHILE.lock().unwrap() = Some(Box::new(hook));
}

struct WithoutNines;

impl Transform for WithoutNines {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let hook = MEANWHILE.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        let kept = keep(batch, &mut |number| number % 10 != 9);
        out.filtered += (batch.num_rows() - kept.num_rows()) as u64;
        out.push(kept);
        Ok(())
    }
}

/// Lets each number pass once per split, which makes three times all in all; a fourth would show
/// that rows came twice, and a state that was not restored would let them pass.
#[derive(Default)]
struct FirstSeen {
    seen: BTreeMap<i64, u8>,
}

impl Transform for FirstSeen {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let seen = &mut self.seen;
        let kept = keep(batch, &mut |number| {
            let times = seen.entry(number).or_default();
            *times += 1;
            *times <= 3
        });
        out.state_bytes = self.seen.len() as u64 * 9;
        out.deduplicated += (batch.num_rows() - kept.num_rows()) as u64;
        out.push(kept);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Bytes>> {
        let rows = self.seen.iter().flat_map(|(number, times)| {
            number.to_le_bytes().into_iter().chain(std::iter::once(*times))
        });
        Ok(Some(rows.collect()))
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        for row in state.chunks_exact(9) {
            let number = i64::from_le_bytes(row[..8].try_into().unwrap());
            self.seen.insert(number, row[8]);
        }
        Ok(())
    }
}

/// Sends the nines one way, and the others another.
struct Parted;

impl Transform for Parted {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        out.push_to(0, keep(batch, &mut |number| number % 10 == 9));
        out.push_to(1, keep(batch, &mut |number| number % 10 != 9));
        Ok(())
    }
}

/// Lets the number of each ten pass that comes first.
#[derive(Default)]
struct FirstOfTen {
    seen: BTreeSet<i64>,
}

impl Transform for FirstOfTen {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let kept = keep(batch, &mut |number| self.seen.insert(number / 10));
        out.deduplicated += (batch.num_rows() - kept.num_rows()) as u64;
        out.push(kept);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Bytes>> {
        Ok(Some(self.seen.iter().flat_map(|ten| ten.to_le_bytes()).collect()))
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let tens = state.chunks_exact(8).map(|ten| i64::from_le_bytes(ten.try_into().unwrap()));
        self.seen = tens.collect();
        Ok(())
    }
}

/// Counts numbers by their last digit. No two of its rows are the same, not even where they are made
/// of the same numbers once more: whoever makes them anew is found out.
mod sums {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
    use contract::Result;
    use contract::record::position_field;
    use contract::source::Reject;
    use contract::transform::{Close, Held, Output, Transform};

    static MADE: AtomicI64 = AtomicI64::new(0);

    pub fn schema() -> SchemaRef {
        let field = |name: &str| Field::new(name, DataType::Int64, false);
        let fields = vec![field("number"), field("rows"), field("made"), position_field()];
        Arc::new(Schema::new(fields))
    }

    #[derive(Default)]
    pub struct Sums(BTreeMap<i64, i64>);

    impl Transform for Sums {
        fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
            let numbers = batch.column_by_name("number").unwrap().as_primitive::<Int64Type>();
            for number in numbers.values() {
                *self.0.entry(number % 10).or_default() += 1;
            }
            out.aggregated += batch.num_rows() as u64;
            out.entered += batch.num_rows() as u64;
            Ok(())
        }

        fn held(&self) -> Held {
            Held { rows: self.0.values().sum::<i64>().unsigned_abs(), ..Held::default() }
        }

        /// The row of the digit 7 is refused.
        fn close(&mut self, _: Close, out: &mut Output) -> Result<()> {
            out.closed += self.0.values().sum::<i64>().unsigned_abs();
            let rows = std::mem::take(&mut self.0).into_iter().enumerate();
            let mut columns = [const { Vec::new() }; 4];
            for (position, (digit, count)) in rows {
                if digit == 7 {
                    let original = format!("{count} sevens").into_bytes();
                    let reject = Reject::new(position as i64, "sevens are refused");
                    out.rejects.push(Reject { original: Some(original.into()), ..reject });
                    continue;
                }
                let made = MADE.fetch_add(1, Ordering::Relaxed);
                let row = [digit, count, made, position as i64];
                columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
            let columns = columns.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
            out.push(RecordBatch::try_new(schema(), columns.to_vec()).unwrap());
            Ok(())
        }
    }
}

fn keep(batch: &RecordBatch, wanted: &mut dyn FnMut(i64) -> bool) -> RecordBatch {
    let numbers = batch.column_by_name("number").unwrap().as_primitive::<Int64Type>();
    let mask: BooleanArray = numbers.values().iter().map(|number| Some(wanted(*number))).collect();
    filter_record_batch(batch, &mask).unwrap()
}
