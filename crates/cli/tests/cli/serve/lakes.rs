//! A table in a bucket is served as one of the embedded lake is.

use serde_json::json;

use super::Server;
use crate::lakes;

#[test]
fn analytics_and_sql_read_a_table_in_a_bucket() {
    let Some(desk) = lakes::desk() else { return };
    desk.done(&["run", "far.yaml", "--until-end"]);
    let counted = json!({ "sql": "SELECT count(*) AS rows FROM requests" }).to_string();
    // By its pipeline file, by its name, and found as the first table of requests.
    for arguments in [&["far.yaml"][..], &["--table", "requests"], &[]] {
        let server = Server::start(&desk, arguments);
        let got = server.get("/analytics/error_rate");
        assert_eq!((got.status, &got.json()["total"]), (200, &2_000.into()), "{arguments:?}");
        let got = server.post("/query", &counted);
        assert_eq!((got.status, &got.json()["rows"]), (200, &json!([[2000]])), "{arguments:?}");
        let got = server.post("/query", "{\"sql\": \"SELECT * FROM nowhere\"}");
        assert!(got.body.contains("requests"), "among the tables that there are: {got:?}");
    }
}
