//! Trying the environment out.

mod queue;
mod storage;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(storage::storage)).routes(routes!(queue::queue))
}
