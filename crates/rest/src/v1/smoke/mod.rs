//! Trying the environment out.

mod queue;
mod storage;

use utoipa_axum::routes;

use crate::ApiRouter;

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(storage::storage)).routes(routes!(queue::queue))
}
