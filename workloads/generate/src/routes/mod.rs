//! The workload's own routes under `/v1`, with their OpenAPI paths. Handlers parse, call one use case, and map.

mod errors;
mod generate;
mod templates;

use windrow_rest::ApiRouter;

/// All of them.
pub fn routes() -> ApiRouter {
    ApiRouter::new().merge(templates::routes()).merge(generate::routes())
}
