//! What every request passes on its way in and out: who asks, what a browser may do with the
//! answer, and that nothing that goes wrong in one request ends more than that request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use state::checkpoint::sha256_hex;

use crate::problem::Problem;
use crate::site::Site;

/// Paths below which there is data. What else there is (health, documentation, files of the page)
/// is for anybody.
const GUARDED: [&str; 5] = ["/analytics", "/pipelines", "/query", "/metrics", "/session"];
/// What the page may load: what comes from here.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// The pages of Swagger UI carry styles in their elements.
const DOCS_POLICY: &str = "default-src 'self'; img-src 'self' data:; \
                           style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; \
                           form-action 'self'; frame-ancestors 'none'";

/// Lets in who may ask.
pub async fn admit(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let access = &site.options.access;
    if access.is_local() && !names_this_machine(request.uri(), request.headers()) {
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "this server answers to localhost")
            .hint("a page of another site may be behind the request; use 127.0.0.1")
            .into_response();
    }
    let path = request.uri().path();
    if let Some(token) = &access.token
        && is_guarded(path)
        && !brings(request.headers(), token)
    {
        let mut response =
            Problem::new(StatusCode::UNAUTHORIZED, "the request needs the server's token")
                .hint("send `Authorization: Bearer TOKEN`")
                .into_response();
        let challenge = HeaderValue::from_static("Bearer realm=\"logmill\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    next.run(request).await
}

fn is_guarded(path: &str) -> bool {
    let below = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    GUARDED.iter().any(|prefix| below(prefix))
}

/// Whether the request carries the token. Sums are compared, so that the time says nothing.
fn brings(headers: &HeaderMap, token: &str) -> bool {
    let brought = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let brought = brought.and_then(|value| value.split_once(' '));
    brought.is_some_and(|(scheme, brought)| {
        scheme.eq_ignore_ascii_case("bearer")
            && sha256_hex(brought.trim().as_bytes()) == sha256_hex(token.as_bytes())
    })
}

/// Whether a request names this machine as its host. A page of another site whose name leads here
/// (DNS rebinding) does not.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = match uri.host() {
        Some(host) => host.to_owned(),
        None => match headers.get(header::HOST).map(HeaderValue::to_str) {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(host)) => match host.parse::<axum::http::uri::Authority>() {
                Ok(authority) => authority.host().to_owned(),
                Err(_) => return false,
            },
        },
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let named = bare.eq_ignore_ascii_case("localhost") || bare.ends_with(".localhost");
    named || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Ends a request that takes too long, its body and its queries included.
pub async fn limit(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let limit = site.options.limits.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy(format!("the request took longer than {} s", limit.as_secs()))
            .hint("ask for less: a shorter range, more filters")
            .into_response(),
    }
}

/// A defect in one request is the end of that request alone.
pub async fn survive(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of logmill")
            .hint("the server's log says where; please report it")
            .into_response(),
    }
}

/// Says what a browser may do with an answer.
pub async fn protect(request: Request, next: Next) -> Response {
    let docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = if docs { DOCS_POLICY } else { POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Counts what was answered, and how long it took.
pub async fn count(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    let route = response.extensions().get::<Route>().map_or("other", |route| route.0.as_str());
    site.traffic.add(route, response.status().as_u16(), begun.elapsed());
    response
}

/// The route that an answer came from.
#[derive(Clone)]
struct Route(String);

/// Notes the route that was matched, for [`count`], which stands outside of the router.
pub async fn name_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(Route(route));
    }
    response
}
