//! `--memory-limit`: the memory of the process, divided among the pipelines that it runs.

use clap::Args;
use contract::quantity::ByteSize;
use runtime::shares;

use crate::pipeline::Loaded;

/// The memory of the process.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Memory {
    /// Bytes that the pipelines may hold together, divided among them by need, instead of what
    /// their files say; by default the largest `memory.limit` of them.
    #[arg(long, value_name = "SIZE", env = "LOGMILL_MEMORY_LIMIT", value_parser = size)]
    memory_limit: Option<ByteSize>,
}

/// A number of bytes, as pipeline files write it.
fn size(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).filter(|size| size.0 > 0);
    size.ok_or_else(|| "expected a size such as 256MiB".to_owned())
}

impl Memory {
    /// Gives each pipeline its share.
    pub fn divide(self, loaded: &mut [Loaded]) {
        let mut pipelines: Vec<_> = loaded.iter_mut().map(|one| &mut one.pipeline).collect();
        shares::divide(self.memory_limit.map(|limit| limit.0), &mut pipelines);
    }
}
