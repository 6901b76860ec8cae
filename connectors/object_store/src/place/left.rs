//! Uploads in S3 that killed processes left: nobody sees them, and they are paid for.
//!
//! Only those are removed whose names are those of the sink and that were begun so long ago that
//! what they were decided for is read again.

use chrono::{DateTime, TimeDelta, Utc};
use contract::Result;
use contract::error::Context;
use object_store::path::Path;
use serde::Deserialize;

use super::Place;
use crate::key::KeyTemplate;

/// Days after which nobody completes an upload.
const KEPT_DAYS: i64 = 7;
/// Pages of a list that are looked through, of 1,000 uploads each.
const PAGES_MAX: usize = 100;

/// The answer to `ListMultipartUploads`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    upload: Vec<Upload>,
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: DateTime<Utc>,
}

/// Removes the uploads that were left under the names of a sink; says how many.
///
/// # Errors
/// External: the store does not list its uploads, or does not answer.
pub async fn remove(place: &Place, key: &KeyTemplate) -> Result<usize> {
    let lists = place.bucket().filter(|bucket| bucket.lists_uploads());
    let Some(bucket) = lists else { return Ok(0) };
    let folder = place.path(&key.folder())?;
    let pattern = key.pattern()?;
    let before = Utc::now() - TimeDelta::days(KEPT_DAYS);
    let mut after: Option<(String, String)> = None;
    let mut removed = 0;
    for _ in 0..PAGES_MAX {
        let from = after.as_ref().map(|(key, upload)| (key.as_str(), upload.as_str()));
        let page = bucket.uploads(folder.as_ref(), from).await?;
        let unclear = || "the store's list of uploads is not one".to_owned();
        let text = std::str::from_utf8(&page).external(unclear)?;
        let page: Page = quick_xml::de::from_str(text).external(unclear)?;
        for upload in page.upload.iter().filter(|upload| upload.initiated < before) {
            let Ok(path) = Path::parse(&upload.key) else { continue };
            let is_ours = place.key(&path).is_some_and(|key| pattern.is_match(&key));
            if is_ours {
                let dropped = place.uploads.abort_multipart(&path, &upload.upload_id).await;
                dropped.transient(|| format!("could not drop an upload of \"{path}\""))?;
                removed += 1;
            }
        }
        after = page.next_key_marker.zip(page.next_upload_id_marker);
        if !page.is_truncated || after.is_none() {
            break;
        }
    }
    Ok(removed)
}
