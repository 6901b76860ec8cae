//! Dead letters as the API shows them.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::source::OriginalKind;
use query::letters::ShownLetter;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::analytics::params::written;
use crate::problem::Answer;

/// How old the counts of open letters may be.
const FRESH: Duration = Duration::from_secs(1);

/// Dead letters, and how many there are.
#[derive(Serialize, ToSchema)]
pub struct Letters {
    /// How many meet the conditions.
    pub total: u64,
    /// Those of the page, the newest first.
    pub letters: Vec<Letter>,
}

/// A dead letter.
#[derive(Serialize, ToSchema)]
pub struct Letter {
    /// When it was refused.
    #[schema(format = DateTime)]
    ts: String,
    /// The sink that refused it.
    sink: Option<String>,
    /// The step that refused it.
    step: Option<String>,
    /// Where the record was read.
    split: String,
    /// Which record of the split.
    position: i64,
    /// The epoch.
    epoch: i64,
    /// Why.
    reason: String,
    /// `bytes`: the original is what was read. `row`: it is the row as JSON.
    kind: &'static str,
    /// The original as text; null where it is no UTF-8, or not to be had.
    original: Option<String>,
    /// The original where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_base64: Option<String>,
    /// `open`, `replayed` or `acknowledged`.
    state: String,
}

impl From<ShownLetter> for Letter {
    fn from(shown: ShownLetter) -> Self {
        let ShownLetter { letter, state } = shown;
        let original = letter.reject.original;
        let (text, base64) = match original.map(|bytes| String::from_utf8(bytes.to_vec())) {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(error)) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        Self {
            ts: written(letter.ts_us),
            sink: letter.sink,
            step: letter.step,
            split: letter.split.as_str().to_owned(),
            position: letter.reject.position,
            epoch: letter.epoch.cast_signed(),
            reason: letter.reject.reason,
            kind: match letter.reject.kind {
                OriginalKind::Bytes => "bytes",
                OriginalKind::Row => "row",
            },
            original: text,
            original_base64: base64,
            state,
        }
    }
}

/// How many letters of each pipeline are open, as of a moment ago.
#[derive(Default)]
pub struct Open(Mutex<Option<(Instant, HashMap<String, u64>)>>);

impl Open {
    /// The counts by pipeline.
    ///
    /// # Errors
    /// 503: the lake cannot be read.
    pub async fn counts(&self, data: &Path) -> Answer<HashMap<String, u64>> {
        let mut known = self.0.lock().await;
        if let Some((seen, counts)) = known.as_ref()
            && seen.elapsed() < FRESH
        {
            return Ok(counts.clone());
        }
        let counts = query::letters::open_counts(data).await?;
        *known = Some((Instant::now(), counts.clone()));
        Ok(counts)
    }

    /// Forgets what is known: something was replayed.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}
