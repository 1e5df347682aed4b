//! The OpenAPI 3.1 document, generated from the handlers.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Windrow",
        description = "A self-hosted platform for AI content jobs. Errors are RFC 9457 problem documents with a stable \
                       `code` and the `request_id`. Money is decimal USD in strings; times are RFC 3339, UTC.",
        license(name = "Apache-2.0 OR MIT")
    ),
    components(schemas(windrow_api_types::Problem)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Platform;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A JWT of the configured issuer, or an API key (`wr_…`)."))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The document without any route.
pub(crate) fn frame() -> utoipa::openapi::OpenApi {
    Platform::openapi()
}

/// Serves the document, which is made when it is first asked for.
pub(crate) fn served<S: Clone + Send + Sync + 'static>(
    make: impl FnOnce() -> utoipa::openapi::OpenApi + Send + 'static,
) -> MethodRouter<S> {
    type Make = Box<dyn FnOnce() -> Bytes + Send>;
    let text: Make = Box::new(|| make().to_json().expect("the document is plain data").into());
    let text = Arc::new(LazyLock::<Bytes, Make>::new(text));
    get(
        move || async move { ([(header::CONTENT_TYPE, "application/json")], Bytes::clone(&text)).into_response() },
    )
}
