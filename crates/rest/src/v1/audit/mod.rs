//! The audit log.

mod list;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list::list))
}
