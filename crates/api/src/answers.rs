//! The same answers without a listener: for whoever shows the numbers elsewhere than in a browser.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use contract::error::Context;
use contract::{Error, Result};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::analytics::interval::Calendar;
use crate::analytics::params::{Bound, moment};
use crate::options::Options;
use crate::routes;
use crate::site::Site;

/// Answers requests of this process.
pub struct Answers {
    router: Router,
}

impl Answers {
    /// Answers of what a server with these options would serve. Nothing listens.
    ///
    /// # Errors
    /// As for [`crate::Server::bind`], but those of the address.
    pub fn new(options: Options) -> Result<Self> {
        Ok(Self { router: routes::router(Arc::new(Site::new(options)?)) })
    }

    /// The answer to `GET`: `/analytics/summary?start=2026-03-01`.
    ///
    /// # Errors
    /// Config: the server refuses the request, with its words and its hint. External: it cannot
    /// answer now.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty());
        let request = request
            .map_err(|error| Error::config(format!("{path:?} is no address")).because(error))?;
        // A router refuses by its answer, never by an error.
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.external(|| failed(path))?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).external(|| failed(path))?;
        if status.is_success() {
            return Ok(answer);
        }
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let refused = match status.is_server_error() {
            true => Error::external(text("detail")),
            false => Error::config(text("detail")),
        };
        let hint = text("hint");
        Err(if hint.is_empty() { refused } else { refused.hint(hint) })
    }
}

/// The first and the last moment that a text names as the bound of a range in UTC, in microseconds
/// since 1970: those of a date differ. None where it names none.
pub fn moments(text: &str) -> Option<(i64, i64)> {
    let of = |bound| moment(text, Calendar::default(), bound);
    of(Bound::First).zip(of(Bound::Last))
}

fn failed(path: &str) -> String {
    format!("could not answer {path:?}")
}
