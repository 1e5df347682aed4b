//! Everybody's jobs that failed for good, for admins; what they decide is audited.

mod discard;
mod list;
mod purge;
mod retry;
mod retry_all;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(retry::retry))
        .routes(routes!(retry_all::retry_all))
        .routes(routes!(discard::discard))
        .routes(routes!(purge::purge))
}
