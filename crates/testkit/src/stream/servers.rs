//! The servers of a stream: where they are, and what can be done to them.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio_postgres::NoTls;

use crate::http;
use crate::services::{find, setting};
use crate::wait;

/// A killed server that takes longer does not come back.
const BACK_LIMIT: Duration = Duration::from_secs(60);
/// What holds everything back on a way that stands still, as its proxy knows it.
const STALL: &str = "stall";
/// Longer than any outage.
const STALL_MS: u64 = 24 * 3_600_000;

/// The way to a server, through its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Everything passes.
    Open,
    /// Connections stay open, and nothing that is sent arrives.
    Stalled,
    /// Connections are broken, and new ones are refused.
    Cut,
}

/// Where the servers are.
#[derive(Clone)]
pub struct Servers {
    /// Kafka's brokers.
    pub kafka: String,
    /// PostgreSQL's URL.
    pub postgres: String,
    /// OpenSearch's URL.
    pub opensearch: String,
    /// S3, as `http://host:port`.
    pub s3: String,
    /// The id of its access key.
    pub s3_key: String,
    /// The secret of its access key.
    pub s3_secret: String,
    /// A bucket that exists.
    pub s3_bucket: String,
}

impl Servers {
    /// All servers, unless one is absent and its tests are left out.
    ///
    /// # Panics
    /// One is absent, and may not be.
    pub fn find() -> Option<Self> {
        Some(Self {
            kafka: find("kafka")?,
            postgres: find("postgres")?,
            opensearch: find("opensearch")?,
            s3: find("s3")?,
            s3_key: setting("s3_key"),
            s3_secret: setting("s3_secret"),
            s3_bucket: setting("s3_bucket"),
        })
    }

    /// The same servers behind proxies, where there are some. All ways are open.
    ///
    /// # Panics
    /// As for [`Servers::find`]; a proxy does not obey.
    pub fn behind_proxies(&self) -> Option<Self> {
        let behind = Self {
            kafka: find("kafka_cut")?,
            postgres: find("postgres_cut")?,
            s3: find("s3_cut")?,
            ..self.clone()
        };
        ["kafka", "postgres", "s3"].iter().for_each(|server| set_way(server, Way::Open));
        Some(behind)
    }

    /// What reaches S3, as settings.
    pub fn s3_settings(&self) -> String {
        let Self { s3, s3_key, s3_secret, .. } = self;
        format!(
            "endpoint: \"{s3}\", allow_http: true, region: us-east-1, \
             access_key: {s3_key}, secret_key: {s3_secret}"
        )
    }
}

/// Kills a server with SIGKILL; whoever started it starts it again. It serves when this returns.
///
/// # Panics
/// It does not run, may not be killed, or does not come back.
pub fn kill(server: &str) {
    let file = setting(&format!("{server}_pid"));
    let pid = std::fs::read_to_string(&file).expect("the server runs");
    let sent = Command::new("kill").args(["-s", "KILL", pid.trim()]).status();
    assert!(sent.expect("`kill` starts").success(), "{server} is killed");
    let address = setting(server);
    let back = || serves(server, &address).then_some(());
    wait::until(&format!("{server} comes back"), BACK_LIMIT, back);
}

/// Whether a server does more than accept connections.
fn serves(server: &str, address: &str) -> bool {
    let tasks = tokio::runtime::Runtime::new().expect("a runtime");
    match server {
        "postgres" => tasks.block_on(tokio_postgres::connect(address, NoTls)).is_ok(),
        "s3" => http::send("GET", address, "/minio/health/ready", "").is_ok(),
        _ => std::net::TcpStream::connect(address).is_ok(),
    }
}

/// Opens the way to a server, lets it stand still, or cuts it. A way that stood still and is cut
/// lets nothing pass in between; one that is opened gives what it held back.
///
/// # Panics
/// The proxy does not obey.
pub fn set_way(server: &str, way: Way) {
    let proxy = format!("/proxies/{server}");
    let toxics = format!("{proxy}/toxics");
    match way {
        Way::Stalled => {
            let attributes = json!({ "latency": STALL_MS });
            let stall = json!({
                "name": STALL, "type": "latency", "stream": "upstream", "attributes": attributes
            });
            must("POST", &toxics, &stall);
        }
        Way::Cut => must("POST", &proxy, &json!({ "enabled": false })),
        Way::Open => {
            // There is none unless it stood still.
            let toxiproxy = setting("toxiproxy");
            let _ = http::send("DELETE", &toxiproxy, &format!("{toxics}/{STALL}"), "");
            must("POST", &proxy, &json!({ "enabled": true }));
        }
    }
}

fn must(method: &str, path: &str, body: &serde_json::Value) {
    let answer = http::send(method, &setting("toxiproxy"), path, &body.to_string());
    answer.unwrap_or_else(|error| panic!("{error}"));
}
