//! The files of the dashboard, as they were built into the program.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::page;
use crate::problem::Problem;
use crate::site::Site;

/// The page that all addresses of the dashboard begin with.
const INDEX: &str = "index.html";
/// Files under this folder carry a sum of their content in their names.
const HASHED: &str = "assets/";
/// What a browser keeps for ever.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What a browser asks for again.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A file of the dashboard; without one, a plain page.
pub async fn file(State(site): State<Arc<Site>>, method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if !matches!(method, Method::GET | Method::HEAD) {
        return nothing(uri.path());
    }
    match (path, find(path)) {
        (_, Some(content)) => answer(path, content),
        ("", None) => match find(INDEX) {
            Some(content) => answer(INDEX, content),
            None => page::plain(&site).await.into_response(),
        },
        _ => nothing(uri.path()),
    }
}

fn find(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, content)| *content)
}

/// A file as text.
pub fn text(path: &str) -> Option<&'static str> {
    find(path).and_then(|content| std::str::from_utf8(content).ok())
}

/// What was built of the sources, of one kind.
pub fn of_kind(end: &str) -> Vec<&'static str> {
    let built = FILES.iter().filter(|(name, _)| name.starts_with(HASHED) && name.ends_with(end));
    built.filter_map(|(name, _)| text(name)).collect()
}

fn nothing(path: &str) -> Response {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing under {path:?}"))
        .hint("`/docs` shows all there is")
        .into_response()
}

fn answer(path: &str, content: &'static [u8]) -> Response {
    let kept = if path.starts_with(HASHED) { FOREVER } else { FRESH };
    let kind = HeaderValue::from_static(media_type(path));
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, kept)], content).into_response()
}

/// What a file is, by the end of its name.
fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
