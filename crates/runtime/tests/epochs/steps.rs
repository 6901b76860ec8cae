//! Two steps for the proofs: a stateless filter, and a stateful one that passes each row of a
//! split once, however often it comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use bytes::Bytes;
use contract::transform::{Output, Port, Step, Transform};
use contract::{Result, Section};

pub fn make(
    kind: &str,
    _name: &str,
    _section: &Section,
    inputs: &[(String, SchemaRef)],
) -> Result<Arc<dyn Step>> {
    let ports = vec![Port { name: "".into(), schema: inputs[0].1.clone() }];
    Ok(Arc::new(TestStep { ports, stateful: kind == "first_seen" }))
}

struct TestStep {
    ports: Vec<Port>,
    stateful: bool,
}

impl Step for TestStep {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn stateful(&self) -> bool {
        self.stateful
    }

    fn build(&self) -> Result<Box<dyn Transform>> {
        Ok(match self.stateful {
            true => Box::new(FirstSeen::default()),
            false => Box::new(WithoutNines),
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

fn keep(batch: &RecordBatch, wanted: &mut dyn FnMut(i64) -> bool) -> RecordBatch {
    let numbers = batch.column_by_name("number").unwrap().as_primitive::<Int64Type>();
    let mask: BooleanArray = numbers.values().iter().map(|number| Some(wanted(*number))).collect();
    filter_record_batch(batch, &mask).unwrap()
}
