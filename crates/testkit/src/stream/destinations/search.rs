//! Documents in an OpenSearch index.

use std::path::Path;

use serde_json::{Value, json};

use super::{Destination, count_row};
use crate::http;
use crate::program::Program;
use crate::services::unique;
use crate::stream::servers::Servers;
use crate::stream::tally::Tally;

/// Documents in one answer; the server's own limit.
const PAGE: usize = 10_000;

/// An index of its own, which the sink makes.
pub struct Search {
    url: String,
    index: String,
}

impl Search {
    /// A name for the index.
    pub fn new(servers: &Servers) -> Self {
        Self { url: servers.opensearch.clone(), index: unique("milled") }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = http::send(method, &self.url, path, &body.to_string());
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&answer).expect("the server answers in JSON")
    }
}

impl Destination for Search {
    fn settings(&self) -> String {
        format!("type: opensearch, url: \"{}\", index: {}", self.url, self.index)
    }

    fn read(&self, _: &Program, _: &Path, tally: &mut Tally) {
        let index = &self.index;
        self.ask("POST", &format!("/{index}/_refresh"), &json!({}));
        let first = json!({ "size": PAGE, "sort": ["_doc"], "_source": ["id", "word"] });
        let mut page = self.ask("POST", &format!("/{index}/_search?scroll=1m"), &first);
        loop {
            let hits = page["hits"]["hits"].as_array().expect("a list of hits");
            if hits.is_empty() {
                return;
            }
            hits.iter().for_each(|hit| count_row(&hit["_source"], tally));
            let next = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] });
            page = self.ask("POST", "/_search/scroll", &next);
        }
    }
}
