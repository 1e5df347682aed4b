//! API keys of the caller.

mod create;
mod list;
mod revoke;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(create::create))
        .routes(routes!(list::list))
        .routes(routes!(revoke::revoke))
}
