//! What else is in the lake of a look: splits whose files are not named this time.
//!
//! A lake goes on while its files are rotated, and so holds rows of files that nobody asks for any
//! more: the successor of a file, or what was named beside it. They stay, and do not count.

use std::collections::HashSet;
use std::path::Path;

use connector_file::File;
use contract::discovery::list;
use contract::{Lineage, Result, SplitId};
use desk::quoted;

use super::files::Input;
use crate::pipeline;

/// What is in a lake and does not count.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// The splits.
    pub splits: Vec<SplitId>,
    /// The newest epoch when they were looked for.
    pub epoch: u64,
}

impl Others {
    /// The splits of a lake whose files are not among those that are named; `file` is the pipeline
    /// file that names them. What cannot be read now is named all the same.
    ///
    /// # Errors
    /// External: a file that is named alone cannot be read.
    pub async fn find(file: &Path, input: &Input, data: &Path) -> Result<Self> {
        let Input::Files { found, .. } = input else { return Ok(Self::default()) };
        let pipeline = pipeline::load(file, data)?.pipeline;
        let Some(checkpoints) = pipeline::find_checkpoints(&pipeline).await? else {
            return Ok(Self::default());
        };
        // What is wrong with a checkpoint, the run says.
        let history = checkpoints.history(&pipeline.name, &Lineage::main());
        let (Ok(Some(newest)), Some(node)) = (history.newest().await, pipeline.sources.first())
        else {
            return Ok(Self::default());
        };
        let known = newest.checkpoint.roster.known(&node.name);
        let discovery = list(node.source.as_ref(), Some(&known)).await?;
        let paths: HashSet<_> =
            found.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
        let mut named: HashSet<SplitId> = HashSet::new();
        for split in discovery.splits {
            if paths.contains(&File::path(&split)?) {
                named.insert(split.id);
            }
        }
        named.extend(discovery.unreadable.iter().map(|one| SplitId::new(one.name.as_str())));
        let ids = known.into_iter().map(|known| known.split.id);
        let splits = ids.filter(|id| !named.contains(id)).collect();
        Ok(Self { splits, epoch: newest.checkpoint.epoch })
    }

    /// A condition in SQL for the rows that count, by their column of splits.
    pub fn condition(&self, column: &str) -> String {
        match self.splits.is_empty() {
            true => "true".to_owned(),
            false => format!("{column} NOT IN ({})", self.list()),
        }
    }

    /// The splits as SQL lists texts.
    pub fn list(&self) -> String {
        self.splits.iter().map(|split| quoted(split.as_str())).collect::<Vec<_>>().join(", ")
    }
}
