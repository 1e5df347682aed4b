//! The caller.

mod show;
mod webhook_secret;

use utoipa_axum::routes;

use crate::ApiRouter;

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(show::show)).routes(routes!(webhook_secret::webhook_secret))
}
