//! The OpenAPI 3.1 document, generated from the handlers.

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
