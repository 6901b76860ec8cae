//! When a bucket was made, as stores say it. Neither S3 nor GCS gives buckets ids; two of one name
//! cannot have been made at once.

use serde::Deserialize;

/// The answer to `ListBuckets` of S3.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    buckets: Buckets,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Buckets {
    #[serde(default)]
    bucket: Vec<Listing>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    name: String,
    creation_date: String,
}

/// A bucket of GCS as its JSON API shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    time_created: String,
}

/// The date of a bucket in a list of S3; none if it is not in there.
pub fn of_s3(list: &str, bucket: &str) -> Option<String> {
    let listed: Listed = quick_xml::de::from_str(list).ok()?;
    let mut buckets = listed.buckets.bucket.into_iter();
    buckets.find(|listing| listing.name == bucket).map(|listing| listing.creation_date)
}

/// The date of a bucket of GCS.
pub fn of_google(bucket: &str) -> Option<String> {
    serde_json::from_str(bucket).ok().map(|shown: Shown| shown.time_created)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_buckets_tells_when_one_was_made() {
        let list = "<?xml version=\"1.0\"?><ListAllMyBucketsResult \
            xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>x</ID></Owner><Buckets>\
            <Bucket><Name>logs-2</Name><CreationDate>2026-01-02T03:04:05.678Z</CreationDate>\
            </Bucket><Bucket><Name>logs</Name><CreationDate>2025-01-02T03:04:05.678Z\
            </CreationDate></Bucket>\
            </Buckets></ListAllMyBucketsResult>";
        assert_eq!(of_s3(list, "logs").as_deref(), Some("2025-01-02T03:04:05.678Z"));
        assert_eq!(of_s3(list, "log"), None);
        assert_eq!(of_s3("<Error/>", "logs"), None);
        let shown = r#"{"name":"logs","timeCreated":"2025-01-02T03:04:05.678Z"}"#;
        assert_eq!(of_google(shown).as_deref(), Some("2025-01-02T03:04:05.678Z"));
        assert_eq!(of_google("{}"), None);
    }
}
