//! Is it alive, is it ready, what has it counted, what does it serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::inquiry::Problems;
use crate::milling::{Milling, MillingNow};
use crate::problem::{Answer, ProblemBody};
use crate::site::Site;

/// The answer of a server that is well.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// What the page must know before it asks for anything.
#[derive(Serialize, ToSchema)]
pub struct Session {
    /// The program's version.
    version: &'static str,
    /// The table behind the analytics; none if there is no such table.
    analytics: Option<AnalyticsTable>,
    /// Whether dead letters can be replayed.
    writable: bool,
    /// The run that fills the table in this process; none if there is no such run.
    milling: Option<MillingNow>,
}

/// The table behind the analytics.
#[derive(Serialize, ToSchema)]
pub struct AnalyticsTable {
    /// Its name.
    table: String,
    /// Its column of times.
    time: String,
    /// `lake` or `postgres`.
    backend: &'static str,
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "status", responses((status = 200, body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The data can be asked.
#[utoipa::path(
    get, path = "/readyz", tag = "status",
    responses(
        (status = 200, body = Health),
        (status = 503, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(site): State<Arc<Site>>) -> Answer<Json<Health>> {
    site.options.host.pipelines().await?;
    Ok(Json(Health { status: "ok" }))
}

/// What is served, and by which version.
#[utoipa::path(
    get, path = "/session", tag = "status", security(("token" = [])),
    responses(
        (status = 200, body = Session),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn session(State(site): State<Arc<Site>>) -> Json<Session> {
    let analytics = site.options.analytics.as_ref().map(|analytics| AnalyticsTable {
        table: analytics.table.clone(),
        time: analytics.time.clone(),
        backend: analytics.backend.name(),
    });
    let writable = site.options.host.is_writable();
    let milling = site.options.milling.as_ref().map(Milling::now);
    Json(Session { version: site.options.version, analytics, writable, milling })
}

/// Counters, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "status", security(("token" = [])),
    responses((status = 200, body = String, content_type = "text/plain"), Problems)
)]
pub async fn metrics(State(site): State<Arc<Site>>) -> impl IntoResponse {
    let text = site.options.host.metrics() + &site.traffic.text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
