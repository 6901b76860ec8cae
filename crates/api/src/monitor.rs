//! The small server beside a run: metrics and health, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use contract::Result;
use contract::error::Context;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::options::{Access, Limits};
use crate::server::{self, Door};

/// Connections that are open: a few scrapers.
const CONNECTIONS_MAX: usize = 64;

/// What is told of a run.
pub struct Watched {
    /// Everything that was counted, in the text format of Prometheus.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Why the run does not get on now, if so.
    pub trouble: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// How many splits cannot be read, while the others are.
    pub failing_splits: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Who may ask a [`Monitor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Programs of this machine.
    Local,
    /// Everybody who can reach the address.
    Anybody,
}

/// A server that listens.
pub struct Monitor {
    listener: TcpListener,
    address: SocketAddr,
}

impl Monitor {
    /// Begins to listen. Nothing is answered before [`Monitor::run`].
    ///
    /// # Errors
    /// Config: the address is no address, or open to others without their being meant.
    /// External: the address is taken.
    pub async fn bind(wanted: &str, audience: Audience) -> Result<Self> {
        let addresses = server::addresses(wanted, "--metrics 127.0.0.1:8001").await?;
        if audience == Audience::Local {
            Access::default().check(&addresses).map_err(|error| {
                error.hint("add `--metrics-open` where everybody may read the metrics")
            })?;
        }
        let listener = server::listen(&addresses, wanted).await?;
        let address = listener.local_addr().external(|| "the listener has no address".into())?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` turns true.
    pub async fn run(self, watched: Watched, stop: watch::Receiver<bool>) {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(Arc::new(watched));
        let limits = Limits { connections_max: CONNECTIONS_MAX, ..Limits::default() };
        let door = Door { listener: self.listener, tls: None, limits };
        door.answer(router, stop, || {}).await;
    }
}

async fn metrics(State(watched): State<Arc<Watched>>) -> impl IntoResponse {
    let text = (watched.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn healthz() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

async fn readyz(State(watched): State<Arc<Watched>>) -> Response {
    let Some(trouble) = (watched.trouble)() else {
        return match (watched.failing_splits)() {
            0 => healthz().await.into_response(),
            splits => {
                Json(json!({ "status": "degraded", "failing_splits": splits })).into_response()
            }
        };
    };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let problem = json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": status.as_u16(),
        "detail": trouble,
    });
    let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, "5")];
    (status, headers, problem.to_string()).into_response()
}
