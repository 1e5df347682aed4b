//! The caller.

mod show;

use utoipa_axum::routes;

use crate::ApiRouter;

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(show::show))
}
