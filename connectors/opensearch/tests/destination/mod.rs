//! Documents in an OpenSearch index.

use std::path::Path;

use serde_json::{Value, json};
use testkit::http;
use testkit::program::Program;
use testkit::services::{find, unique};
use testkit::stream::servers::Called;
use testkit::stream::{Destination, Tally};

/// Documents in one answer; the server's own limit.
const PAGE: usize = 10_000;

/// An index of its own, which the sink makes.
pub struct Index {
    url: String,
    /// What the pipeline calls it.
    called: String,
    index: String,
}

/// Names an index.
pub fn destination(called: Called) -> Option<Box<dyn Destination>> {
    let (url, called) = (find("opensearch")?, called.address("opensearch")?);
    Some(Box::new(Index { url, called, index: unique("milled") }))
}

impl Index {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = http::send(method, &self.url, path, &body.to_string());
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&answer).expect("the server answers in JSON")
    }
}

impl Destination for Index {
    fn settings(&self) -> String {
        format!("type: opensearch, url: \"{}\", index: {}", self.called, self.index)
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
            hits.iter().for_each(|hit| tally.count_row(&hit["_source"]));
            let next = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] });
            page = self.ask("POST", "/_search/scroll", &next);
        }
    }
}
