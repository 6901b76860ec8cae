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

/// How a pipeline calls the servers that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// By their addresses.
    Directly,
    /// By their proxies' addresses, where they have one.
    ThroughProxies,
}

impl Called {
    /// The address of a server; none where it, or its proxy, is absent.
    ///
    /// # Panics
    /// It is absent, and may not be.
    pub fn address(self, server: &str) -> Option<String> {
        let has_proxy = self == Self::ThroughProxies && ways().iter().any(|way| way == server);
        if has_proxy { find(&format!("{server}_cut")) } else { find(server) }
    }

    /// Whether the proxies are there that this needs. All their ways are open then.
    ///
    /// # Panics
    /// They are absent, and may not be; or one does not obey.
    pub fn begin(self) -> bool {
        if self == Self::Directly {
            return true;
        }
        if find("toxiproxy").is_none() {
            return false;
        }
        ways().iter().for_each(|server| set_way(server, Way::Open));
        true
    }
}

/// The servers that have a proxy.
fn ways() -> Vec<String> {
    let proxies = http::send("GET", &setting("toxiproxy"), "/proxies", "");
    let proxies = proxies.unwrap_or_else(|error| panic!("{error}"));
    let proxies: serde_json::Map<_, _> = serde_json::from_str(&proxies).expect("a map of proxies");
    proxies.into_iter().map(|(name, _)| name).collect()
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
