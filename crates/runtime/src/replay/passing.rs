//! What stands in a replay for a step with a state that let the rows pass once.
//!
//! A replay has states of its own. A row that was refused below such a step has passed it; asked
//! again, a step that knows nothing would drop the second of two rows that both passed.

use arrow::array::RecordBatch;
use contract::Result;
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
