//! Which handler answers which path, and the layers that all requests go through.

mod analytics;
pub mod assets;
mod body;
mod guard;
mod inquiry;
mod page;
mod pipelines;
mod records;
mod series;
mod sql;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::{self, Problem};
use crate::site::Site;

/// The head of the OpenAPI document; the paths come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Logmill",
        description = "What pipelines delivered, and how they are. Times are RFC 3339, in UTC; \
                       errors are problem details (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::ProblemBody)),
    modifiers(&Bearer)
)]
struct Document;

/// The token, in the OpenAPI document.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document
            .components
            .get_or_insert_default()
            .security_schemes
            .insert("token".to_owned(), scheme.into());
    }
}

/// The router of a site.
pub fn router(site: Arc<Site>) -> Router {
    let (router, document) = described().split_for_parts();
    let document = of_server(document, &site);
    let docs = SwaggerUi::new("/docs").url("/openapi.json", document);
    let router = router
        .route_layer(middleware::from_fn(guard::name_route))
        .merge(docs)
        .fallback(assets::file)
        .method_not_allowed_fallback(not_this_way)
        .with_state(site.clone());
    router
        .layer(middleware::from_fn_with_state(site.clone(), guard::limit))
        .layer(middleware::from_fn_with_state(site.clone(), guard::admit))
        .layer(middleware::from_fn(guard::survive))
        .layer(middleware::from_fn(problem::write))
        .layer(middleware::from_fn(guard::protect))
        .layer(middleware::from_fn_with_state(site, guard::count))
}

/// Every path that is described, with its handler.
fn described() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .routes(routes!(status::session))
        .routes(routes!(status::metrics))
        .routes(routes!(sql::query))
        .merge(analytics())
        .merge(pipelines())
}

fn pipelines() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(pipelines::list))
        .routes(routes!(pipelines::one))
        .routes(routes!(pipelines::epochs))
        .routes(routes!(pipelines::ledger))
        .routes(routes!(pipelines::dead_letters))
        .routes(routes!(pipelines::replay))
        .routes(routes!(pipelines::runs))
}

fn analytics() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(analytics::requests_per_endpoint))
        .routes(routes!(analytics::top_ips))
        .routes(routes!(analytics::error_rate))
        .routes(routes!(analytics::summary))
        .routes(routes!(series::timeseries))
        .routes(routes!(analytics::status_classes))
        .routes(routes!(analytics::top))
        .routes(routes!(analytics::latency))
        .routes(routes!(analytics::bytes))
        .routes(routes!(analytics::countries))
        .routes(routes!(analytics::browsers))
        .routes(routes!(analytics::systems))
        .routes(routes!(analytics::bots))
        .routes(routes!(analytics::referrers))
        .routes(routes!(records::columns))
        .routes(routes!(records::records))
        .routes(routes!(records::tail))
}

/// The document of this very server: its version, and a token only where one is needed.
fn of_server(mut document: utoipa::openapi::OpenApi, site: &Site) -> utoipa::openapi::OpenApi {
    document.info.version = site.options.version.to_owned();
    if site.options.access.token.is_some() {
        return document;
    }
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            operation.security = None;
            operation.responses.responses.remove("401");
        }
    }
    document.components.get_or_insert_default().security_schemes.clear();
    document
}

async fn not_this_way(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path"))
}
