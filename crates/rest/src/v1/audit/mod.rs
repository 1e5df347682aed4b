//! The audit log.

mod list;

use utoipa_axum::routes;

use crate::ApiRouter;

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list::list))
}
