//! What stands in a replay for a step with a state.
//!
//! A replay has states of its own. A row that was refused below such a step has passed it; asked
//! again, a step that knows nothing would drop the second of two rows that both passed. One that
//! never came to the step must not pass it here either: it is refused again, by that step.

use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::Result;
use contract::record::Numbers;
use contract::transform::{Means, Output, Port, Step, Transform};

/// A step that sends on what comes.
pub struct Passing {
    ports: Vec<Port>,
}

impl Passing {
    /// In the place of a step with these ports.
    pub fn by(ports: &[Port]) -> Self {
        Self { ports: ports.to_vec() }
    }
}

impl Step for Passing {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Sending))
    }
}

struct Sending;

impl Transform for Sending {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        out.push(batch.clone());
        Ok(())
    }
}

/// A step that refuses what comes.
pub struct Barring {
    ports: Vec<Port>,
    reason: Arc<str>,
}

impl Barring {
    /// In the place of a step of this name, with these ports.
    pub fn by(name: &str, ports: &[Port]) -> Self {
        let reason = format!(
            "{name:?} keeps a state, which a replay would not meet: it reached only what stands \
             beside it"
        );
        Self { ports: ports.to_vec(), reason: reason.into() }
    }
}

impl Step for Barring {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Refusing(self.reason.clone())))
    }
}

struct Refusing(Arc<str>);

impl Transform for Refusing {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let numbers = Numbers::of(batch)?;
        let rows = 0..batch.num_rows();
        out.rejects.extend(rows.map(|row| numbers.refuse(row, &*self.0)));
        Ok(())
    }
}
