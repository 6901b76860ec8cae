//! Reads the body of a request: JSON, and not more of it than a limit.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use crate::problem::{Answer, Problem};

/// The media type of a body.
const JSON: &str = "application/json";

/// The body as JSON. A page of another site cannot send this type without being asked first, and
/// is never answered then.
///
/// # Errors
/// 400, 413, 415.
pub async fn json<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Answer<T> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(JSON) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the body is {kind:?}, expected {JSON:?}"),
        )
        .hint("send `Content-Type: application/json`"));
    }
    let body = Limited::new(request.into_body(), bytes_max).collect().await;
    let bytes = body.map_err(|error| {
        match error.downcast_ref::<http_body_util::LengthLimitError>().is_some() {
            true => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is longer than {bytes_max} bytes"),
            ),
            false => Problem::bad_request("the body ended early"),
        }
    })?;
    serde_json::from_slice(&bytes.to_bytes())
        .map_err(|error| Problem::bad_request(format!("the body is not as expected: {error}")))
}
