//! The kinds of work that this server knows.

mod list;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list::list))
}
